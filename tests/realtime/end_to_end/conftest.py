"""Servers for the tests, each ended with its test at the latest."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.realtime.server_process import ServerProcess


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Makes servers in the test's folder, not yet started; takes what `ServerProcess` takes after the folder."""
    with ExitStack() as servers:

        def make(*args: Any, **kwargs: Any) -> ServerProcess:
            server = ServerProcess(tmp_path, *args, **kwargs)
            servers.callback(server.close)
            return server

        yield make


@pytest.fixture
def chance() -> random.Random:
    """Another one each time; a failed test shows its seed."""
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    return random.Random(seed)
