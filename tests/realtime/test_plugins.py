import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import attrs
import pytest

from realtime import plugins, sources
from realtime.actors.broadcaster import RESTART
from realtime.modules import Modules
from realtime.plugins import PluginError, Services
from realtime.settings import ActorSettings
from realtime.tree import build
from realtime.web.mounts import Mounts
from supervisors import SupervisorRef, SupervisorSpec

from .in_process import make_settings, running


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a module into a folder of the path; it is forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source, name="own_module"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def load(use, **settings):
    """What the module *use* makes of its section; what is no setting of an actor's is an option."""
    actor = ActorSettings(use=use, **settings)
    return load_many({"mine": actor})


def load_many(actors):
    return modules_of(actors).children()


def load_plugin(use, **settings):
    """What the module *use* has brought."""
    return modules_of({"mine": ActorSettings(use=use, **settings)}).get("mine").plugin


def modules_of(actors):
    system = build(make_settings())
    services = attrs.evolve(system.services, settings=make_settings(actors=actors))
    modules = Modules(services, Mounts(system.backend), SupervisorRef("broadcasters"), system.jobs)
    modules.load()
    return modules


ONE = """
    from supervisors import ChildSpec

    async def work(): ...

    def children(services, *, interval: float = 1.0, names: list[str] = [], secret: str = ""):
        return [ChildSpec("its own name", work, kwargs={"interval": interval, "names": names})]
"""


# --- what is loaded ------------------------------------------------------------------------------------------------


def test_one_child_stands_under_the_actor_s_id(write):
    (spec,) = load(write(ONE))
    assert (spec.id, spec.kwargs) == ("mine", {"interval": 1.0, "names": []})


def test_several_children_stand_under_a_supervisor_of_that_id(write):
    source = """
        from supervisors import ChildSpec

        async def work(): ...

        def children(services):
            return [ChildSpec("a", work), ChildSpec("b", work)]
    """
    (spec,) = load(write(source))
    assert (spec.id, spec.backoff) == ("mine", RESTART)
    assert isinstance(spec.start, SupervisorSpec)
    assert [child.id for child in spec.start.children] == ["a", "b"]


def test_modules_come_in_the_order_of_the_settings_and_disabled_ones_do_not(write):
    one = write(ONE)
    actors = {
        "b": ActorSettings(use=one),
        "off": ActorSettings(use="no.such.module", enabled=False),
        "a": ActorSettings(use=one),
    }
    assert [spec.id for spec in load_many(actors)] == ["b", "a"]


def test_the_bundled_ones_are_modules_like_any_other():
    bundled = {id: ActorSettings(use=f"realtime.actors.{id}") for id in ("clock", "system")}
    assert [spec.id for spec in load_many(bundled)] == ["clock", "system"]


def test_a_module_is_given_the_services(write):
    name = write(
        """
        from supervisors import ChildSpec

        async def work(): ...

        seen = []

        def children(services):
            seen.append(services)
            return [ChildSpec("x", work)]
        """
    )
    load(name)
    (services,) = sys.modules[name].seen
    assert isinstance(services, Services)
    assert services.settings.actors["mine"].use == name


async def test_a_module_runs_in_the_tree(write):
    name = write(
        """
        import trio
        from supervisors import ChildSpec

        async def work(hub):
            hub.publish_nowait("mine", "mine_update", 1)
            await trio.sleep_forever()

        def children(services):
            services.hub.declare("mine", retain=True)
            return [ChildSpec("x", work, args=(services.hub,))]
        """
    )
    async with running(make_settings(actors={"mine": ActorSettings(use=name)})) as system:
        assert system.tree.find("broadcasters/mine").state == "running"


def test_an_entry_point_is_found_by_its_name_before_a_module(write, monkeypatch):
    name = write(ONE)
    point = EntryPoint("json", name, sources.ENTRY_POINTS)
    monkeypatch.setattr(sources, "entry_points", lambda group, name=None: [point] if name in (None, "json") else [])
    (spec,) = load("json")
    assert spec.kwargs["interval"] == 1.0


# --- options -------------------------------------------------------------------------------------------------------


def test_options_become_what_the_annotations_say(write):
    (spec,) = load(write(ONE), options={"interval": 2, "names": ["a"]})
    assert spec.kwargs == {"interval": 2.0, "names": ["a"]}
    assert isinstance(spec.kwargs["interval"], float)


def test_an_unknown_option_is_named_with_the_nearest_known_one(write):
    with pytest.raises(PluginError) as refused:
        load(write(ONE), options={"intervall": 1})
    assert str(refused.value) == (
        "[actors.mine] (module 'own_module'): option 'intervall' is not known; the nearest is interval"
    )


def test_a_missing_option_is_named(write):
    source = """
        def children(services, *, pin: int): ...
    """
    with pytest.raises(PluginError, match="option 'pin' is missing"):
        load(write(source))


@pytest.mark.parametrize("value", ["soon", [1], True, {}])
def test_a_wrong_type_is_named(write, value):
    with pytest.raises(PluginError, match="option 'interval': expected `float`, got `"):
        load(write(ONE), options={"interval": value})


def test_what_an_option_is_set_to_stays_out_of_the_error(write):
    with pytest.raises(PluginError) as refused:
        load(write(ONE), options={"secret": 271828})
    assert "271828" not in str(refused.value)


def test_the_star_before_the_options_may_be_forgotten(write):
    source = """
        from supervisors import ChildSpec

        async def work(): ...

        def children(services, pin: int = 1):
            return [ChildSpec("x", work, args=(pin,))]
    """
    (spec,) = load(write(source), options={"pin": 17})
    assert spec.args == (17,)


def test_the_services_are_no_option(write):
    with pytest.raises(PluginError, match="option 'services' is not known"):
        load(write(ONE), options={"services": 1})


def test_an_option_without_an_annotation_is_taken_as_it_is(write):
    source = """
        from supervisors import ChildSpec

        async def work(): ...

        def children(services, *, anything=None):
            return [ChildSpec("x", work, args=(anything,))]
    """
    (spec,) = load(write(source), options={"anything": {"a": [1]}})
    assert spec.args == ({"a": [1]},)


LATE = """
    from __future__ import annotations

    from typing import TYPE_CHECKING

    from supervisors import ChildSpec

    if TYPE_CHECKING:
        from collections.abc import Sequence

        from realtime.plugins import Services

    async def work(): ...

    def children(services: Services, *, pin: int = 1, names: Sequence[str] = ()) -> list[ChildSpec]:
        return [ChildSpec("x", work, args=(pin, names))]
"""


def test_names_that_exist_for_the_type_checker_alone_do_no_harm(write):
    (spec,) = load(write(LATE), options={"pin": 17})
    assert spec.args == (17, ())


def test_unless_an_option_needs_one_of_them(write):
    with pytest.raises(PluginError) as refused:
        load(write(LATE), options={"names": ["a"]})
    assert "option 'names'" in str(refused.value)
    assert "name 'Sequence' is not defined" in str(refused.value)
    assert "TYPE_CHECKING" in str(refused.value)


@pytest.mark.parametrize("annotation", ["'no type at all'", "'1 +'", "3.5"])
def test_an_annotation_that_is_no_type_is_the_module_s_fault(write, annotation):
    source = f"""
        def children(services, *, pin: {annotation} = 1): ...
    """
    with pytest.raises(PluginError, match=r"option 'pin': its annotation .* cannot be (used|read)"):
        load(write(source), options={"pin": 1})


# --- what is refused -----------------------------------------------------------------------------------------------


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(PluginError) as refused:
        load("no_such_module")
    assert str(refused.value).startswith("[actors.mine] (module 'no_such_module') cannot be imported: ModuleNotFound")
    assert "no entry point of this name" in str(refused.value)


def test_a_module_that_cannot_be_imported_says_why_and_nothing_else(write):
    with pytest.raises(PluginError) as refused:
        load(write("import no_such_library"))
    assert "No module named 'no_such_library'" in str(refused.value)
    assert "entry point" not in str(refused.value)


@pytest.mark.parametrize("source", ["def children(:", "1 / 0", "raise RuntimeError('x')"])
def test_a_module_that_is_broken_says_so(write, source):
    with pytest.raises(PluginError, match=r"cannot be imported: (SyntaxError|ZeroDivisionError|RuntimeError)"):
        load(write(source))


@pytest.mark.parametrize("source", ["", "children = 3", "async def children(services): ..."])
def test_a_module_without_a_plain_function_is_refused(write, source):
    with pytest.raises(PluginError, match="plain function children"):
        load(write(source))


@pytest.mark.parametrize("body", ["return None", "return []", "return ['x']", "return (1,)", "yield 1"])
def test_what_is_no_list_of_child_specs_is_refused(write, body):
    with pytest.raises(PluginError, match="must return a list of at least one ChildSpec"):
        load(write(f"def children(services):\n    {body}"))


def test_an_error_of_the_module_s_own_is_told_with_the_module(write):
    with pytest.raises(PluginError, match=r"\[actors.mine\] .*: children\(\) failed: no such pin"):
        load(write("def children(services):\n    raise ValueError('no such pin')"))


def test_two_children_of_one_id_are_refused(write):
    source = """
        from supervisors import ChildSpec

        async def work(): ...

        def children(services):
            return [ChildSpec("a", work), ChildSpec("a", work)]
    """
    with pytest.raises(PluginError, match=r"\[actors.mine\].*'a'"):
        load(write(source))


def test_a_child_that_would_shut_the_others_down_is_refused(write):
    source = """
        from supervisors import ChildSpec

        async def work(): ...

        def children(services):
            return [ChildSpec("a", work, significant=True, restart="transient")]
    """
    with pytest.raises(PluginError, match=r"\[actors.mine\].*significant"):
        load(write(source))


# --- what else a module brings -------------------------------------------------------------------------------------

RICH = """
    import attrs
    from quart import Blueprint
    from realtime.actors.methods import Method, method
    from realtime.actors.tasks import Job, job

    @attrs.frozen
    class Said:
        text: str

    message_types = {"said": Said}

    async def work(emitter): ...

    @job("one")
    async def one(emitter): ...

    @method("greet")
    async def greet(caller): ...

    def jobs(services, *, name: str = "two"):
        return [Job(name, work), one]

    def methods(services):
        return [Method("part", work)]

    def routes(services):
        made = Blueprint("made", __name__)

        @made.get("/made")
        async def answer(): ...

        return made
"""


def test_jobs_and_methods_come_from_hooks_and_from_the_module_itself(write):
    found = load_plugin(write(RICH), options={"name": "three"})
    assert [job.name for job in found.jobs] == ["one", "three"]
    assert [method.name for method in found.methods] == ["greet", "part"]
    assert found.blueprint.name == "made"
    assert found.spec is None
    assert found.hooks == ("routes", "jobs", "methods")
    assert found.options == ("name",)
    assert list(found.message_types) == ["said"]
    assert found.file.endswith("own_module.py")


def test_what_is_imported_from_elsewhere_is_not_the_module_s(write):
    write(RICH, "elsewhere")
    source = """
        from elsewhere import greet, one

        def routes(services): ...
    """
    with pytest.raises(PluginError, match="routes"):
        load(write(source))
    with pytest.raises(PluginError, match="declares no broadcaster, no job and no method"):
        load(write("from elsewhere import greet, one", "third"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("return made", "return None", r"routes\(\) must return a Blueprint, got None"),
        ("return [Job(name, work), one]", "return [work]", r"jobs\(\) must return a list of at least one Job"),
        ("return [Job(name, work), one]", "return [Job('one', work)]", "there are two jobs called 'one'"),
        ('return [Method("part", work)]', "return []", r"methods\(\) must return a list of at least one Method"),
        ('return [Method("part", work)]', 'return [Method("greet", work)]', "two methods called 'greet'"),
        ('{"said": Said}', '{"said": str}', "message_types must be a dict of attrs classes"),
        ('@made.get("/made")', "", "has no route"),
        ('@made.get("/made")', '@made.get("made")', "its routes cannot be used: .*slash"),
    ],
)
def test_what_hooks_must_not_return_is_refused(write, old, new, told):
    assert old in RICH
    with pytest.raises(PluginError, match=rf"\[actors.mine\] \(module 'own_module'\): .*{told}"):
        load(write(RICH.replace(old, new)))


def test_a_job_that_another_module_has_is_refused(write):
    actors = {"a": ActorSettings(use=write(RICH, "first")), "b": ActorSettings(use=write(RICH, "second"))}
    with pytest.raises(PluginError, match=r"\[actors.b\].*another job called 'one'"):
        load_many(actors)


# --- restart settings ----------------------------------------------------------------------------------------------


def test_a_crash_costs_its_siblings_nothing_unless_the_module_says_so(write):
    (spec,) = load(write(ONE))
    assert spec.backoff == RESTART


def test_the_settings_go_over_what_the_module_says(write):
    (spec,) = load(
        write(ONE),
        restart="transient",
        shutdown=2.0,
        backoff_first=0.1,
        backoff_maximum=1.0,
        healthy_uptime=7.0,
        max_failures=3,
    )
    assert (spec.restart, spec.shutdown) == ("transient", 2.0)
    backoff = spec.backoff
    assert (backoff.first, backoff.maximum, backoff.healthy_uptime, backoff.max_failures) == (0.1, 1.0, 7.0, 3)


def test_what_the_settings_leave_out_stays_as_the_module_has_it(write):
    source = """
        from supervisors import Backoff, ChildSpec

        async def work(): ...

        def children(services):
            return [ChildSpec("x", work, restart="transient", backoff=Backoff(first=2.0, maximum=9.0))]
    """
    (spec,) = load(write(source), backoff_maximum=4.0)
    assert (spec.restart, spec.backoff.first, spec.backoff.maximum) == ("transient", 2.0, 4.0)


def test_a_temporary_child_is_not_restarted_at_all(write):
    (spec,) = load(write(ONE), restart="temporary")
    assert (spec.restart, spec.backoff) == ("temporary", None)


@pytest.mark.parametrize("settings", [{"backoff_first": 60.0}, {"restart": "temporary", "backoff_first": 1.0}])
def test_settings_that_contradict_each_other_are_named(write, settings):
    with pytest.raises(PluginError, match=r"\[actors.mine\] \(module 'own_module'\): "):
        load(write(ONE), **settings)


# --- the path ------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/first"])
    return sys.path


def test_modules_may_lie_beside_the_settings_and_shadow_nothing(path, tmp_path):
    plugins.look_beside(tmp_path / "realtime.toml")
    assert path == ["/first", str(tmp_path)]


def test_without_settings_they_lie_in_the_current_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plugins.look_beside(None)
    plugins.look_beside(Path("realtime.toml"))
    assert path == ["/first", str(tmp_path)]


def test_the_example_of_the_documentation_loads(write):
    source = (Path(__file__).parents[2] / "docs" / "examples" / "dice.py").read_text()
    (spec,) = load(write(source, "dice_example"), options={"interval": 0.5})
    assert spec.start.__self__.interval == 0.5
