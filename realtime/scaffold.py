"""``realtime new-module``: the files of a package with an actor module, and with a test that passes."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Final

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")

PYPROJECT: Final = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$name"
version = "0.1.0"
description = "An actor module for realtime"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["realtime-supervised"]

[project.entry-points."realtime.actors"]
$name = "$package.actors"

[dependency-groups]
dev = ["pytest"]

[tool.setuptools.packages.find]
where = ["src"]

[tool.pytest.ini_options]
pythonpath = ["src"]
testpaths = ["tests"]
"""

README: Final = """\
# $name

An actor module for realtime: publishes a number each second on the topic `$package`.

    pip install --editable .
    pytest

In `realtime.toml`:

```toml
[actors.$name]
interval = 0.5
```

`realtime modules` shows that it is found, `realtime serve` starts it, and
`realtime tail ws://127.0.0.1:8000/ws/me --subscribe $package` listens.
"""

PACKAGE: Final = '''\
"""An actor module for realtime; see `$package.actors`."""
'''

ACTORS: Final = '''\
"""Publishes a number each second on the topic "$package"."""

import random

from realtime.actors.declared import periodic


@periodic(every=1.0, topic="$package", type="${package}_update")
async def $package() -> dict[str, int]:
    return {"number": random.randint(1, 100)}
'''

TEST: Final = '''\
"""The module in a whole system, on a clock that jumps."""

import trio
from supervisors.testing import crash, virtual_time

from realtime.testing import running_module


@virtual_time
async def test_a_number_comes_at_once_and_then_each_half_second() -> None:
    async with running_module("$package.actors", interval=0.5) as module, module.listen("$package") as heard:
        await trio.sleep(10)
        numbers = [data["number"] for data in heard.data("${package}_update")]
    assert len(numbers) in (20, 21)
    assert set(numbers) <= set(range(1, 101))


@virtual_time
async def test_it_comes_back_after_a_crash() -> None:
    async with running_module("$package.actors") as module, module.listen("$package") as heard:
        await heard.next("${package}_update")
        await crash(module.tree, module.path, RuntimeError("on purpose"))
        await heard.next("${package}_update")
        assert module.tree.find(module.path).restarts == 1
'''


def files(name: str) -> Mapping[Path, str]:
    """The contents of the package *name*, by their paths within its folder.

    Raises:
      ValueError: *name* is no name of a package, or is taken by what is installed.
    """
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(package) or len(name) > 64:
        raise ValueError(
            f"name must be 1 to 64 lower-case letters and digits, in parts joined by '-' or '_', not {name!r}"
        )
    if package in sys.stdlib_module_names or importlib.util.find_spec(package) is not None:
        raise ValueError(f"name must be none that can be imported already, and {package} can")
    templates = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        f"src/{package}/__init__.py": PACKAGE,
        f"src/{package}/actors.py": ACTORS,
        f"tests/test_{package}.py": TEST,
    }
    return {Path(path): Template(text).substitute(name=name, package=package) for path, text in templates.items()}


def write(name: str, where: Path) -> Path:
    """Write the package *name* into a folder of that name in *where*, and return the folder.

    Raises:
      ValueError: *name* is no name of a package.
      FileExistsError: there is something of that name; nothing was written.
      OSError: it cannot be written.
    """
    contents = files(name)
    folder = where / name
    folder.mkdir()
    for path, text in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder
