import pytest
import trio

from realtime import transport
from realtime.messages import CloseCode
from realtime.plugins import PluginError
from realtime.policy.closing import RESTART
from realtime.sections import ActorSettings, Auth, Delivery, Engine, TopicRule
from realtime.settings import BUNDLED_ACTORS, Settings, SettingsError
from realtime.tree import STORE_SHUTDOWN, build
from realtime.web.app import create_app
from supervisors import DynamicSupervisorSpec, StartError

from .in_process import CLOCK, closed, make_settings, receive, running

DESIGN = [
    *("store", "backplane", "hub"),
    *("connections", "server", "jobs", "heartbeat", "broadcasters"),
]
"""Section 1 of the design, from the top to the bottom."""

OWN = ["emitter", "presence", "supervisors"]
"""Broadcasters of the server's own, behind those of the settings."""


@pytest.fixture
def listener():
    with transport.open_listener("127.0.0.1:0") as listener:
        yield listener


def spec_of(settings, listener=None):
    system = build(settings)
    return system.spec(create_app(system.backend), listener)


# --- what stands in it ---------------------------------------------------------------------------------------------


def test_the_children_stand_in_the_order_of_the_design(listener):
    spec = spec_of(make_settings(), listener)
    assert [child.id for child in spec.children] == DESIGN
    assert spec.strategy == "one_for_one"


def test_under_another_server_there_are_no_connections_of_ours():
    spec = spec_of(make_settings())
    assert [child.id for child in spec.children] == [id for id in DESIGN if id not in ("connections", "server")]


def test_the_actors_stand_below_broadcasters_and_what_tells_of_the_tree_last():
    (*_, broadcasters) = spec_of(make_settings(actors={"clock": CLOCK})).children
    assert [child.id for child in broadcasters.start.children] == ["clock", *OWN]


def test_the_bundled_actors_run_unless_they_are_disabled():
    (*_, broadcasters) = spec_of(Settings()).children
    assert [child.id for child in broadcasters.start.children] == [*BUNDLED_ACTORS, *OWN]


def test_nothing_that_others_need_is_charged_to_a_budget(listener):
    """A dependency that is gone for long heals by itself, at no sibling's cost."""
    for child in spec_of(make_settings(), listener).children:
        supervises = child.id in ("connections", "jobs", "broadcasters")
        assert (child.backoff is None) == supervises, child.id


def test_the_store_has_time_to_commit_what_is_queued(listener):
    store, *_ = spec_of(make_settings(), listener).children
    assert store.shutdown == STORE_SHUTDOWN


def test_connections_and_jobs_come_and_go(listener):
    by_id = {child.id: child for child in spec_of(make_settings(), listener).children}
    assert isinstance(by_id["connections"].start, DynamicSupervisorSpec)
    assert isinstance(by_id["jobs"].start, DynamicSupervisorSpec)


# --- what it does --------------------------------------------------------------------------------------------------


async def test_an_event_goes_from_its_creator_through_store_backplane_and_hub_to_who_listens():
    async with running() as system, system.websocket("/ws/events") as socket:
        (subscribed,) = await receive(socket, 1)
        event = await system.system.backend.events.create_event(type="door_opened", data={"door": 3})
        (message,) = await receive(socket, 1)
        assert system.system.backplane.statistics().published == 1
    assert subscribed["epoch"] == system.system.store.epoch
    assert message == {"type": "event", "topic": "events", "offset": event.offset, "data": event.to_wire()}


@pytest.mark.parametrize("path", ["hub", "store", "backplane"])
async def test_events_keep_their_numbers_whatever_crashes(path, autojump_clock):
    async with running() as system, system.websocket("/ws/events") as socket:
        (subscribed,) = await receive(socket, 1)
        create = system.system.backend.events.create_event
        offsets = [(await create(type="t")).offset]
        system.tree.crash(path, RuntimeError("on purpose"))
        await trio.sleep(1)
        offsets.append((await create(type="t")).offset)
        messages = await receive(socket, 2)
        async with system.websocket("/ws/events") as other:
            (again,) = await receive(other, 1)
    assert [message["offset"] for message in messages] == offsets == [1, 2]
    assert (again["epoch"], again["offset"]) == (subscribed["epoch"], 2)


async def test_a_crash_of_the_hub_loses_nothing_that_was_published_meanwhile(autojump_clock):
    async with running() as system, system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        for _ in range(2):  # the first restart is at once, the second is not
            system.tree.crash("hub", RuntimeError("on purpose"))
            await trio.sleep(0.001)
        assert system.tree.find("hub").state == "backing_off"
        await system.system.backend.events.create_event(type="meanwhile")
        (message,) = await receive(socket, 1)
    assert message["data"]["type"] == "meanwhile"


async def test_the_phase_is_known_to_the_routes():
    system = build(make_settings())
    assert (system.backend.phase, system.backend.tree) == ("starting", None)
    async with system.run(create_app(system.backend), None) as tree:
        assert (system.backend.phase, system.backend.tree) == ("serving", tree)
    assert system.backend.phase == "draining"


async def test_a_tree_that_does_not_come_up_was_never_serving(monkeypatch):
    async def broken(*, task_status):
        await trio.lowlevel.checkpoint()
        raise OSError("no such folder")

    system = build(make_settings())
    monkeypatch.setattr(system.store, "run", broken)
    with pytest.raises(StartError, match="'store' did not start"):
        async with system.run(create_app(system.backend), None):
            raise AssertionError("the block ran")
    assert (system.backend.phase, system.backend.tree) == ("starting", None)


async def test_every_client_is_sent_away_when_the_connections_are_stopped():
    async with running() as system, system.websocket("/ws/events") as one, system.websocket("/ws/mine") as two:
        await receive(one, 1)
        await receive(two, 2)
        await system.system.send_clients_away()
        assert [await closed(one), await closed(two)] == [CloseCode.RESTART] * 2


@pytest.mark.parametrize(
    ("drain_window", "drain_timeout", "window"),
    [(0.0, 10.0, 0.0), (5.0, 10.0, 5.0), (60.0, 10.0, 5.0), (5.0, 4.0, 2.0)],
)
async def test_that_takes_no_more_than_half_of_the_drain(monkeypatch, drain_window, drain_timeout, window):
    system = build(make_settings(server={"drain_window": drain_window, "drain_timeout": drain_timeout}))
    windows = []
    monkeypatch.setattr(system.hub, "drain", lambda window, chance, absence: windows.append((window, absence)))
    await system.send_clients_away()
    system.backend.absence = 2.5
    await system.send_clients_away()
    assert windows == [(window, RESTART), (window, 2.5)]


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": Engine(url="redis://localhost")}, "engine.url: only 'local' is supported in this version"),
        ({"delivery": Delivery(max_topics_per_connection=1)}, "delivery.max_topics_per_connection must be at least 2"),
        ({"actors": {"supervisors": ActorSettings(use="x")}}, "actors.supervisors: this id is taken"),
        ({"actors": {"presence": ActorSettings(use="x")}}, "actors.presence: this id is taken"),
    ],
)
def test_what_this_version_cannot_do_is_refused_rather_than_ignored(settings, said):
    with pytest.raises(SettingsError) as refused:
        build(Settings(**settings))
    (problem,) = refused.value.problems
    assert problem.startswith(said)


def test_all_of_it_is_said_at_once():
    settings = Settings(engine=Engine(url="redis://localhost"), delivery=Delivery(max_topics_per_connection=1))
    with pytest.raises(SettingsError) as refused:
        build(settings)
    assert len(refused.value.problems) == 2


def test_rules_that_say_what_holds_anyway_are_fine():
    assert build(make_settings(topics={"a": TopicRule(publish="server", history=0, wait_seconds=2.0)}))


def test_an_actor_module_that_cannot_be_used_is_refused():
    with pytest.raises(PluginError, match="no_such_module"):
        build(make_settings(actors={"mine": ActorSettings(use="no_such_module")}))


# --- the operator's token ------------------------------------------------------------------------------------------


def with_token_file(path):
    return make_settings(auth=Auth(admin_token_file=path))


async def test_the_token_is_what_stands_in_the_file_without_the_end_of_its_line(tmp_path):
    (tmp_path / "token").write_text(" open sesame\r\n")
    access = build(with_token_file(tmp_path / "token")).services.access
    assert (await access.identify({"Authorization": "Bearer open sesame"})).name == "admin"


def test_the_token_shows_nowhere(tmp_path):
    (tmp_path / "token").write_text("open sesame")
    assert "open sesame" not in repr(build(with_token_file(tmp_path / "token")))


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff", "cannot be read")],
)
def test_a_file_without_a_token_is_refused_by_its_name(tmp_path, content, said):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"auth.admin_token_file: .*token {said}"):
        build(with_token_file(path))
