"""Runs an example as ``python example.py`` would, on a virtual clock and with the same dice each time.

``python -m tests.docs.play docs/examples/tutorial/station.py`` prints what it prints; the ``.txt`` beside an example
is made so.
"""

from __future__ import annotations

import contextlib
import functools
import io
import random
import runpy
import sys
from pathlib import Path
from unittest import mock

import trio
import trio.testing

SEED = 1


def play(path: Path) -> str:
    """What the example at *path* prints.  Modules beside it can be imported, and are forgotten afterwards."""
    output = io.StringIO()
    run = functools.partial(trio.run, clock=trio.testing.MockClock(autojump_threshold=0))
    random.seed(SEED)
    try:
        with (
            contextlib.redirect_stdout(output),
            mock.patch.object(trio, "run", run),
            mock.patch.object(sys, "path", [str(path.parent), *sys.path]),
        ):
            runpy.run_path(str(path), run_name="__main__")
    finally:
        for name in {module.stem for module in path.parent.glob("*.py")} & set(sys.modules):
            del sys.modules[name]
    return output.getvalue()


if __name__ == "__main__":
    sys.stdout.write(play(Path(sys.argv[1])))
