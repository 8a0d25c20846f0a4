"""Actor modules that are enabled, disabled and reloaded while everything else goes on."""

import sys
import textwrap
from functools import partial

import attrs
import pytest
import trio

from realtime.modules import UnknownModule, WrongState
from realtime.plugins import PluginError
from realtime.sections import Auth
from realtime.settings import ActorSettings
from realtime.tree import build
from supervisors.testing import wait_until

from .in_process import closed, error_of, make_settings, receive_until, running


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a module into a folder of the path; it is forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source, name="own_module"):
        if not (tmp_path / f"{name}.py").exists():
            # Twice: what an earlier test has imported goes, and what this one imports goes with it.
            monkeypatch.setitem(sys.modules, name, None)
            monkeypatch.delitem(sys.modules, name)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    return write


SHOP = """
    import trio
    from quart import Blueprint, websocket

    from realtime.actors.methods import method
    from realtime.actors.tasks import job
    from supervisors import ChildSpec

    VERSION = 1

    async def work(hub, task_status):
        hub.publish_nowait("stock", "snapshot", VERSION)
        task_status.started()
        await trio.sleep_forever()

    def children(services):
        services.hub.declare("stock", retain=True)
        return [ChildSpec("x", work, args=(services.hub,))]

    def routes(services):
        shop = Blueprint("shop", __name__)

        @shop.get("/shop/version")
        async def version():
            return {"version": VERSION}

        @shop.websocket("/shop/live")
        async def live():
            await websocket.send_json({"version": VERSION})
            while True:
                await websocket.send_json({"echo": await websocket.receive()})

        return shop

    @job("count")
    async def count(progress):
        return VERSION

    @method("version")
    async def version(caller):
        return VERSION
"""


def settings(name="own_module", **actor):
    return make_settings(actors={"shop": ActorSettings(use=name, **actor)})


async def switch(system, action, id="shop"):
    """Do it, and wait until it is done."""
    modules = system.system.backend.modules
    modules.switch_soon(action, id)
    assert modules.get(id).state == action
    await wait_until(system.tree, lambda: modules.get(id).state != action, f"{action} is over")
    return modules.get(id)


async def version(system):
    """What the module says by HTTP, and by a task."""
    tasks = system.system.services.tasks
    record = await tasks.wait((await tasks.start("count")).task_id)
    assert await system.get("/shop/version") == {"version": record.result}
    return record.result


def brought(system):
    """What there is of the module in the whole system."""
    services = system.system.services
    return [
        *(child.id for child in system.tree.find("broadcasters").children if child.id == "shop"),
        *services.tasks.jobs,
        *services.methods.methods,
        *system.system.backend.mounts.applications,
        *({"stock"} & services.hub.declared()),
    ]


ALL = ["shop", "count", "version", "shop", "stock"]


async def test_a_module_brings_a_child_routes_a_job_a_method_and_a_topic(write):
    async with running(settings(write(SHOP))) as system:
        assert brought(system) == ALL
        assert await version(system) == 1
        async with system.websocket("/shop/live") as socket:
            assert await socket.receive_json() == {"version": 1}
            await socket.send("hello")
            assert await socket.receive_json() == {"echo": "hello"}


async def test_its_routes_are_guarded_and_fail_as_all_do(write):
    async with running(settings(write(SHOP))) as system:
        answer = await system.client.get("/shop/version", headers={"Host": "evil.example"})
        await error_of(answer, 400, "bad_host")
        await error_of(await system.client.post("/shop/version"), 405, "method_not_allowed")
        await error_of(await system.client.get("/shop/nothing"), 404, "not_found")


async def test_its_routes_and_sockets_ask_who_is_there(write, tmp_path):
    (tmp_path / "admin.token").write_text("correct horse battery staple")
    auth = Auth(admin_token_file=tmp_path / "admin.token", required=True)
    token = {"Authorization": "Bearer correct horse battery staple"}
    async with running(attrs.evolve(settings(write(SHOP)), auth=auth)) as system:
        await error_of(await system.client.get("/shop/version"), 401, "not_authenticated")
        assert await system.get("/shop/version", headers=token) == {"version": 1}
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with system.websocket("/shop/live", headers=headers) as socket:
                assert await closed(socket) == 4401
        async with system.websocket("/shop/live", headers=token) as socket:
            assert await socket.receive_json() == {"version": 1}


async def test_disabled_it_leaves_nothing_behind_and_enabled_it_is_back(write):
    async with running(settings(write(SHOP))) as system:
        info = await switch(system, "disable")
        assert (info.state, info.error, info.plugin) == ("disabled", None, None)
        assert brought(system) == []
        await error_of(await system.client.get("/shop/version"), 404, "not_found")
        info = await switch(system, "enable")
        assert (info.state, info.error) == ("enabled", None)
        assert brought(system) == ALL
        assert await version(system) == 1


async def test_what_is_not_enabled_at_start_is_not_imported_and_can_be_enabled(write):
    name = write(SHOP)
    async with running(settings(name, enabled=False)) as system:
        assert name not in sys.modules
        assert brought(system) == []
        assert (await switch(system, "enable")).error is None
        assert brought(system) == ALL


async def test_a_subscriber_stays_while_its_module_is_switched(write):
    async with running(settings(write(SHOP))) as system, system.websocket("/ws/me") as socket:
        await socket.send_json({"type": "subscribe", "topic": "stock"})
        assert (await receive_until(socket, "snapshot"))["data"] == 1
        await switch(system, "disable")
        await switch(system, "enable")
        assert (await receive_until(socket, "snapshot"))["data"] == 1
        write(SHOP.replace("VERSION = 1", "VERSION = 2"))
        await switch(system, "reload")
        again = await receive_until(socket, "snapshot")
        assert (again["data"], again["offset"]) == (2, 3)


async def test_reloaded_it_has_its_new_code_everywhere(write):
    name = write(SHOP)
    async with running(settings(name)) as system:
        old = sys.modules[name]
        write(SHOP.replace("VERSION = 1", "VERSION = 2").replace('"stock"', '"wares"'))
        info = await switch(system, "reload")
        assert (info.state, info.error, info.plugin.topics) == ("enabled", None, {"wares"})
        assert await version(system) == 2
        assert sys.modules[name] is info.plugin.module
        assert sys.modules[name] is not old
        assert {"stock", "wares"} & system.system.hub.declared() == {"wares"}


BROKEN = {
    "import": ("VERSION = 1", "1 / 0", "ZeroDivisionError"),
    "hook": (
        "    def children(services):",
        "    def children(services):\n        raise LookupError('no shelf')",
        "no shelf",
    ),
    "option": ("    def children(services):", "    def children(services, *, pin: int):", "option 'pin' is missing"),
    "start": ("task_status.started()", "raise OSError('no till')", "no till"),
    "job": ('@job("count")', '@job("taken")', "another job called 'taken'"),
    "rule": ('"/shop/version"', '"/shop/live"', None),
}


@pytest.mark.parametrize("what", [name for name, (_, _, reason) in BROKEN.items() if reason])
async def test_what_cannot_be_reloaded_goes_on_as_it_was(write, what):
    name = write(SHOP)
    old_text, new_text, reason = BROKEN[what]
    async with running(settings(name)) as system:
        old = sys.modules[name]
        write(
            """
            from realtime.actors.tasks import job

            @job("taken")
            async def taken(progress): ...
        """,
            "other",
        )
        system.system.services.tasks.register(__import__("other").taken)
        source = SHOP.replace("VERSION = 1", "VERSION = 2").replace("    VERSION = 2\n", "    VERSION = 2\n", 1)
        source = source.replace(old_text.replace("VERSION = 1", "VERSION = 2"), new_text, 1)
        write(source.replace('declare("stock"', 'declare("wares"'))
        info = await switch(system, "reload")
        assert info.state == "enabled"
        assert reason in info.error
        assert info.error.startswith("[actors.shop]")
        assert sys.modules[name] is old
        assert system.tree.find("broadcasters/shop").state == "running"
        assert {"stock", "wares"} & system.system.hub.declared() == {"stock"}
        assert await version(system) == 1
        write(SHOP.replace("VERSION = 1", "VERSION = 3"))
        assert (await switch(system, "reload")).error is None
        assert await version(system) == 3


async def test_what_cannot_be_enabled_says_why_and_can_be_mended(write):
    name = write("import no_such_library")
    async with running(settings(name, enabled=False)) as system:
        info = await switch(system, "enable")
        assert info.state == "disabled"
        assert "No module named 'no_such_library'" in info.error
        write(SHOP.replace('services.hub.declare("stock", retain=True)', "raise RuntimeError('not yet')"))
        assert "not yet" in (await switch(system, "enable")).error
        assert brought(system) == []
        write(SHOP)
        assert (await switch(system, "enable")).error is None
        assert brought(system) == ALL


async def test_a_module_without_children_is_switched_as_well(write):
    source = """
        from realtime.actors.tasks import job

        @job("alone")
        async def alone(progress): ...
    """
    async with running(settings(write(source))) as system:
        assert list(system.system.services.tasks.jobs) == ["alone"]
        assert (await switch(system, "reload")).error is None
        await switch(system, "disable")
        assert list(system.system.services.tasks.jobs) == []


async def test_a_topic_that_another_module_has_declared_stays(write, autojump_clock):
    source = """
        from realtime.actors.declared import periodic

        @periodic(every=1.0, topic="both")
        async def dice():
            return 6
    """
    actors = {"one": ActorSettings(use=write(source, "one")), "two": ActorSettings(use=write(source, "two"))}
    async with running(make_settings(actors=actors)) as system:
        await switch(system, "disable", "one")
        assert "both" in system.system.hub.declared()
        await trio.sleep(5)
        await switch(system, "disable", "two")
        assert "both" not in system.system.hub.declared()


async def test_what_the_server_itself_declares_stays(write):
    source = """
        from realtime.actors.declared import periodic

        @periodic(every=1.0, topic="clock")
        async def another():
            return {}
    """
    async with running(settings(write(source))) as system:
        await switch(system, "disable")
        assert "clock" in system.system.hub.declared()


PLAIN = """
    from realtime.actors.declared import periodic

    @periodic(every=1.0, topic="plain")
    async def plain():
        return 1
"""


async def test_a_restart_of_their_supervisor_does_not_undo_what_was_switched(write):
    actors = {
        "shop": ActorSettings(use=write(SHOP)),
        "plain": ActorSettings(use=write(PLAIN, "plain_module"), enabled=False),
    }
    async with running(make_settings(actors=actors)) as system:
        await switch(system, "disable", "shop")
        await switch(system, "enable", "plain")
        await system.tree.restart_child("broadcasters")
        children = system.tree.find("broadcasters").children
        own = [(id, "running") for id in ("emitter", "presence", "supervisors")]
        assert [(child.id, child.state) for child in children] == [*own, ("plain", "running")]
        assert (await switch(system, "enable", "shop")).error is None
        assert {*ALL} <= {*brought(system)}


async def test_what_cannot_be_switched_so_is_refused(write):
    async with running(settings(write(SHOP))) as system:
        modules = system.system.backend.modules
        with pytest.raises(UnknownModule):
            modules.switch_soon("disable", "ship")
        with pytest.raises(WrongState, match="enabled already"):
            modules.switch_soon("enable", "shop")
        modules.switch_soon("disable", "shop")
        with pytest.raises(WrongState, match="about to disable"):
            modules.switch_soon("reload", "shop")
        await wait_until(system.tree, lambda: modules.get("shop").state == "disabled", "disabled")
        for action in ("disable", "reload"):
            with pytest.raises(WrongState, match="not enabled"):
                modules.switch_soon(action, "shop")


async def test_a_module_whose_old_code_does_not_start_again_either_is_disabled_and_says_both(write):
    source = """
        import trio
        from supervisors import ChildSpec

        lives = []

        async def once(task_status):
            lives.append(1)
            if len(lives) > 1:
                raise OSError("only once")
            task_status.started()
            await trio.sleep_forever()

        def children(services):
            services.hub.declare("once")
            return [ChildSpec("once", once)]
    """
    async with running(settings(write(source))) as system:
        write(source.replace("if len(lives) > 1:", "if lives:").replace("only once", "never"))
        info = await switch(system, "reload")
        assert (info.state, info.plugin) == ("disabled", None)
        assert "never" in info.error
        assert "the old one did not start again" in info.error
        assert "only once" in info.error
        assert "once" not in system.system.hub.declared()


# --- two modules ---------------------------------------------------------------------------------------------------

ROUTE = """
    from quart import Blueprint

    def routes(services):
        made = Blueprint("made", __name__)

        @made.{method}("{rule}")
        async def answer(**_):
            return {{"by": __name__}}

        return made
"""


def two(write, first, second):
    modules = {id: write(ROUTE.format(**rule), id) for id, rule in {"one": first, "two": second}.items()}
    return make_settings(actors={id: ActorSettings(use=use) for id, use in modules.items()})


def test_two_modules_with_one_rule_are_an_error_that_names_both(write):
    rule = {"method": "get", "rule": "/mine/<name>"}
    with pytest.raises(PluginError) as refused:
        build(two(write, rule, rule))
    assert str(refused.value) == ("[actors.two] (module 'two'): the route /mine/<name> is that of [actors.one] too")


async def test_of_two_that_are_enabled_at_once_the_second_is_refused_what_the_first_has(write):
    rule = {"method": "get", "rule": "/mine"}
    both = two(write, rule, rule)
    actors = {id: attrs.evolve(actor, enabled=False) for id, actor in both.actors.items()}
    async with running(attrs.evolve(both, actors=actors)) as system:
        modules = system.system.backend.modules
        for id in actors:
            modules.switch_soon("enable", id)
        await wait_until(system.tree, lambda: all(modules.get(id).state != "enable" for id in actors), "both are done")
        states = sorted((modules.get(id).state, modules.get(id).error is None) for id in actors)
        assert states == [("disabled", False), ("enabled", True)]
        (enabled,) = [id for id in actors if modules.get(id).state == "enabled"]
        assert await system.get("/mine") == {"by": enabled}


async def test_two_modules_may_share_a_path_with_different_methods(write):
    both = two(write, {"method": "get", "rule": "/mine"}, {"method": "post", "rule": "/mine"})
    async with running(both) as system:
        assert await system.get("/mine") == {"by": "one"}
        assert await (await system.client.post("/mine")).get_json() == {"by": "two"}


async def test_our_own_routes_win(write):
    both = two(write, {"method": "get", "rule": "/api/health"}, {"method": "get", "rule": "/api/<path:rest>"})
    async with running(both) as system:
        assert (await system.get("/api/health"))["status"] == "ok"
        assert await system.get("/api/other") == {"by": "two"}


def test_all_modules_that_cannot_be_used_are_named_at_once(write):
    actors = {"one": ActorSettings(use="no_such_one"), "two": ActorSettings(use="no_such_two")}
    with pytest.raises(PluginError) as refused:
        build(make_settings(actors=actors))
    first, *rest = str(refused.value).splitlines()
    assert first == "2 actor modules cannot be used"
    assert [line.split()[0] for line in rest] == ["[actors.one]", "[actors.two]"]


# --- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(tmp_path):
    """Settings with an operator, and the headers of one."""
    token = tmp_path / "token"
    token.write_text("s3cret-and-long-enough-for-anybody\n")
    from realtime.sections import Auth

    return partial(make_settings, auth=Auth(admin_token_file=token)), {
        "Authorization": "Bearer s3cret-and-long-enough-for-anybody"
    }


async def test_an_operator_switches_a_module_and_sees_how_it_went(write, admin):
    configured, headers = admin
    async with running(configured(actors={"shop": ActorSettings(use=write(SHOP))})) as system:
        modules = system.system.backend.modules
        (before,) = (await system.get("/api/modules"))["modules"]
        assert before == {
            "id": "shop",
            "use": "own_module",
            "origin": "module",
            "state": "enabled",
            "path": "broadcasters/shop",
            "hooks": ["children", "routes"],
            "options": [],
            "topics": ["stock"],
            "routes": ["GET /shop/version", "WEBSOCKET /shop/live"],
            "jobs": ["count"],
            "methods": ["version"],
            "error": None,
        }
        answer = await system.client.post("/api/modules/shop/disable", headers=headers)
        assert (answer.status_code, await answer.get_json()) == (202, {"module": "shop", "action": "disable"})
        await wait_until(system.tree, lambda: modules.get("shop").state == "disabled", "disabled")
        (after,) = (await system.get("/api/modules"))["modules"]
        assert (after["state"], after["path"], after["routes"], after["jobs"]) == ("disabled", None, [], [])
        write("1 / 0")
        await system.client.post("/api/modules/shop/enable", headers=headers)
        await wait_until(system.tree, lambda: modules.get("shop").state == "disabled", "disabled again")
        (failed,) = (await system.get("/api/modules", headers=headers))["modules"]
        assert "ZeroDivisionError" in failed["error"]
        (for_all,) = (await system.get("/api/modules"))["modules"]
        assert for_all["error"] is None


async def test_only_an_operator_may_and_only_what_is_there_in_the_right_state(write, admin):
    configured, headers = admin
    async with running(configured(actors={"shop": ActorSettings(use=write(SHOP))})) as system:
        for wrong in ({}, {"Authorization": "Bearer something"}):
            answer = await system.client.post("/api/modules/shop/disable", headers=wrong)
            assert answer.status_code in (401, 403)
        assert brought(system) == ALL
        await error_of(await system.client.post("/api/modules/ship/disable", headers=headers), 404, "not_found")
        await error_of(await system.client.post("/api/modules/shop/enable", headers=headers), 409, "wrong_state")
        await error_of(await system.client.post("/api/modules/shop/burn", headers=headers), 404, "not_found")


async def test_without_an_admin_token_nobody_may(write):
    async with running(settings(write(SHOP))) as system:
        await error_of(await system.client.post("/api/modules/shop/disable"), 403, "not_allowed")
