"""The shape of the two packages: who may import whom, and what stays free of Trio and of the web."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the bottom up: a module may import what stands in its own row or in one above it in this list.
ROWS: dict[str, list[set[str]]] = {
    "supervisors": [
        {"errors", "spec", "exits", "events"},
        {"policy"},
        {"runtime", "tree"},
        {"testing"},
    ],
    "realtime": [
        {"policy", "fields", "sections", "settings", "messages", "ports", "log"},
        {"delivery", "storage", "backplane"},
        {"actors"},
        {"transport"},
        {"options", "sources"},
        {"plugins"},
        {"modules"},
        {"web"},
        {
            "metrics",
            "tree",
            "restart",
            "server",
            "connect",
            "client",
            "remote",
            "cli",
            "asgi",
            "testing",
            "inventory",
            "scaffold",
            "__main__",
        },
    ],
}

# What would let a policy wait, or look at a clock of its own.  (``random`` names the type of a source of chance.)
IMPURE = {"trio", "anyio", "asyncio", "threading", "socket", "time", "secrets"}

WEB = {"realtime", "quart", "quart_trio", "hypercorn", "h11", "wsproto", "h2", "httpx", "werkzeug"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, types: bool = False) -> Iterator[str]:
    """The absolute names of all modules that the file imports, also within functions.

    Those under ``if TYPE_CHECKING:`` only if *types*: they never run.
    """
    package = name_of(path).split(".")
    if path.stem != "__init__":
        package = package[:-1]
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if not types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def row_of(module: str) -> int | None:
    """The number of the row that *module* stands in; None for the package itself and for others' modules."""
    package, _, rest = module.partition(".")
    if package not in ROWS or not rest:
        return None
    room = rest.split(".")[0]
    return next((number for number, row in enumerate(ROWS[package]) if room in row), None)


def test_there_is_something_to_look_at() -> None:
    assert {"supervisors.runtime.base", "supervisors.policy.restart"} <= {
        name_of(path) for path in modules("supervisors")
    }
    assert {"realtime.policy.limits", "realtime.web.app"} <= {name_of(path) for path in modules("realtime")}
    assert "trio" in set(imports(ROOT / "supervisors/runtime/base.py"))
    assert "supervisors.runtime.child" in set(imports(ROOT / "supervisors/runtime/base.py"))
    assert "supervisors.runtime.dynamic" in set(imports(ROOT / "supervisors/runtime/base.py"))


@pytest.mark.parametrize("package", ROWS)
def test_every_module_has_its_place(package: str) -> None:
    """A new room is put into the list on purpose, and not left out of it by accident."""
    homeless = [
        name_of(path) for path in modules(package) if name_of(path) != package and row_of(name_of(path)) is None
    ]
    assert homeless == []


@pytest.mark.parametrize("package", ROWS)
def test_imports_point_one_way(package: str) -> None:
    wrong = []
    for path in modules(package):
        own = row_of(name_of(path))
        if own is None:
            continue  # the package's own __init__ gathers from everywhere
        for imported in imports(path):
            row = row_of(imported) if imported.split(".")[0] == package else None
            if row is not None and row > own:
                wrong.append(f"{name_of(path)} imports {imported}")
    assert wrong == []


def test_supervisors_know_nothing_of_the_web() -> None:
    wrong = [
        f"{name_of(path)} imports {imported}"
        for path in modules("supervisors")
        for imported in imports(path, types=True)
        if imported.split(".")[0] in WEB
    ]
    assert wrong == []


def test_nothing_outside_of_testing_needs_what_only_tests_do() -> None:
    for package in ROWS:
        for path in modules(package):
            if name_of(path) != f"{package}.testing":
                assert not {"trio.testing", "pytest", "hypothesis"} & set(imports(path)), name_of(path)


def file_of(module: str) -> Path | None:
    """The file of one of our own modules, packages left out: their __init__ gathers what others may import."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if module.split(".")[0] in ROWS and path.exists() else None


@pytest.mark.parametrize("package", ROWS)
def test_policies_are_pure_and_so_is_all_that_they_import(package: str) -> None:
    """They decide from values alone; time and randomness are arguments."""
    wrong = []
    for policy in modules(f"{package}/policy"):
        seen: set[Path] = set()
        left = [policy]
        while left:
            path = left.pop()
            if path in seen:
                continue
            seen.add(path)
            for imported in imports(path):
                if imported.split(".")[0] in IMPURE:
                    wrong.append(f"{name_of(policy)} imports {imported} (in {name_of(path)})")
                left += [own for own in [file_of(imported)] if own is not None]
    assert wrong == []


def test_importing_supervisors_brings_in_nothing_of_the_web() -> None:
    program = "import sys, supervisors, supervisors.testing; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"supervisors", "trio", "attr"} <= loaded
    assert loaded & WEB == set()


def test_importing_supervisors_brings_in_no_testing_tools() -> None:
    """Neither Trio's, which are slow to import, nor anybody else's."""
    program = "import sys, supervisors; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert {"pytest", "hypothesis", "trio.testing", "supervisors.testing"} & set(done.stdout.split()) == set()
