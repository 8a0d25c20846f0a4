"""What users test their own modules with."""

import itertools
import sys
import textwrap

import pytest
import trio

from realtime.delivery.errors import UnknownTopic
from realtime.plugins import PluginError
from realtime.testing import running_module
from supervisors.testing import assert_no_tasks_left, crash

SOURCE = """
    from quart import Blueprint

    from realtime.actors.declared import periodic

    @periodic(every=2.0, topic="meter", retain=False)
    async def meter():
        return 7

    def routes(services):
        made = Blueprint("made", __name__)

        @made.get("/meter")
        async def read():
            return {"subscribers": services.hub.subscribers("meter")}

        return made
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "metered.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(tmp_path)
    yield "metered"
    sys.modules.pop("metered", None)


async def test_a_listener_hears_all_that_is_published_at_its_time(module, autojump_clock):
    async with running_module(module, interval=0.5) as running, running.listen("meter") as heard:
        times = []
        for _ in range(3):
            assert (await heard.next("snapshot"))["data"] == 7
            times.append(trio.current_time())
        assert [later - earlier for earlier, later in itertools.pairwise(times)] == [0.5, 0.5]
        assert heard.data() == [7, 7, 7]
        assert heard.messages[0]["type"] == "subscribed"


async def test_a_listener_is_there_for_hours(module, autojump_clock):
    """Whatever the heartbeat asks of it."""
    async with running_module(module) as running, running.listen("meter") as heard:
        await trio.sleep(3600)
        assert len(heard.data("snapshot")) in range(1799, 1802)


async def test_what_does_not_come_is_an_assertion_that_says_what_came(module, autojump_clock):
    async with running_module(module) as running, running.listen("meter") as heard:
        with pytest.raises(
            AssertionError, match=r"no message door_opened came on 'meter' for 600 s, but \['subscribed'"
        ):
            await heard.next("door_opened")


async def test_the_routes_answer_and_the_tree_can_be_crashed(module, autojump_clock):
    with assert_no_tasks_left():
        async with running_module(module) as running:
            async with running.listen("meter"), running.listen("meter"):
                answer = await running.client.get("/meter")
                assert await answer.get_json() == {"subscribers": 2}
            await crash(running.tree, running.path, RuntimeError("on purpose"))
            answer = await running.client.get("/meter")
            assert await answer.get_json() == {"subscribers": 0}
        assert running.info.plugin.topics == {"meter"}


async def test_wrong_options_and_topics_are_told_as_by_the_server(module, autojump_clock):
    with pytest.raises(PluginError, match="option 'intervall' is not known"):
        async with running_module(module, intervall=1):
            raise AssertionError("it ran")
    async with running_module(module) as running:
        with pytest.raises(UnknownTopic):
            async with running.listen("water"):
                raise AssertionError("it listened")
