"""A listening socket from one process to the next."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

from realtime.transport import handover as module
from realtime.transport import listens_on, open_listener, take_over

from .harness import HOST

TAKE_OVER = """
import os, sys
from realtime.transport import take_over
os.environ["LISTEN_PID"] = str(os.getpid())
try:
    listener = take_over(os.environ)
except OSError as error:
    print(f"refused: {error}")
    sys.exit()
if listener is None:
    print("none")
    sys.exit()
left = sorted(name for name in os.environ if name.startswith("LISTEN_"))
print(listener.getsockname()[1], listener.fileno(), listener.getblocking(), listener.get_inheritable(), left)
listener.setblocking(True)
connection, _ = listener.accept()
connection.sendall(b"here")
"""


def given(descriptor: int | None, **variables: str) -> subprocess.Popen[str]:
    """A process that takes over what is its descriptor 3, and then accepts one connection."""

    def place() -> None:
        if descriptor is not None:
            os.dup2(descriptor, 3)
            os.set_inheritable(3, True)
        else:
            os.closerange(3, 4)

    return subprocess.Popen(
        [sys.executable, "-c", TAKE_OVER],
        env={**os.environ, "LISTEN_FDS": "1", **variables},
        stdout=subprocess.PIPE,
        text=True,
        close_fds=False,
        preexec_fn=place,
    )


def said(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=20)
    return output.strip()


def test_a_socket_is_taken_over_with_who_waits_on_it() -> None:
    with open_listener(f"{HOST}:0") as listener:
        port = listener.getsockname()[1]
        listener.setblocking(True)
        with socket.create_connection((HOST, port)) as client:
            process = given(listener.fileno())
            assert client.recv(4) == b"here"
        assert said(process) == f"{port} 3 False False []"


def test_it_belongs_to_the_one_process_that_is_named() -> None:
    with open_listener(f"{HOST}:0") as listener:
        environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDNAMES": "x", "OTHER": "1"}
        assert take_over(environ) is None
        assert environ == {"OTHER": "1"}
        assert listener.getsockname()


@pytest.mark.parametrize("count", ["0", ""])
def test_nothing_handed_over_is_nothing(count: str) -> None:
    assert take_over({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())}) is None
    assert take_over({}) is None


@pytest.mark.parametrize("count", ["2", "-1", "many"])
def test_more_than_one_is_refused(count: str) -> None:
    with pytest.raises(OSError, match=f"LISTEN_FDS is '{count}', but one socket is wanted"):
        take_over({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())})


def udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def unix() -> socket.socket:
    return socket.socket(socket.AF_UNIX)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (udp, "but TCP is wanted"),
        (unix, "but TCP is wanted"),
        (socket.socket, "a socket that does not listen"),
        (tempfile.TemporaryFile, "descriptor 3 is no socket"),
    ],
)
def test_anything_else_is_refused_and_named(make: Callable[[], Any], why: str) -> None:
    with make() as descriptor:
        answer = said(given(descriptor.fileno()))
    assert answer.startswith("refused: ")
    assert "cannot take over the listening socket" in answer
    assert why in answer


def test_a_descriptor_that_is_not_there_is_refused() -> None:
    assert "descriptor 3 is no socket (Bad file descriptor)" in said(given(None))


HAND_ON = """
import os, socket, sys
from realtime.transport import handover, open_listener
listener = open_listener("127.0.0.1:0")
place = {place}
if listener.fileno() != place:
    os.dup2(listener.fileno(), place, inheritable=False)
    listener = socket.socket(fileno=place)
environ = dict(os.environ)
handover.hand_on(listener, environ)
os.execve(sys.executable, [sys.executable, "-c", sys.argv[1]], environ)
"""


@pytest.mark.parametrize("place", [3, 9])
def test_what_is_handed_on_is_found(place: int) -> None:
    program = TAKE_OVER.replace('os.environ["LISTEN_PID"] = str(os.getpid())\n', "")
    process = subprocess.Popen(
        [sys.executable, "-c", HAND_ON.format(place=place), program],
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with process.stdout:
        port, *rest = process.stdout.readline().split()
        assert rest == ["3", "False", "False", "[]"]
        with socket.create_connection((HOST, int(port))) as client:
            assert client.recv(4) == b"here"
        assert process.wait(20) == 0


def test_where_it_listens_is_compared_with_where_it_should() -> None:
    with open_listener(f"{HOST}:0") as listener:
        port = listener.getsockname()[1]
        assert listens_on(listener, f"{HOST}:{port}")
        assert listens_on(listener, f"localhost:{port}")
        assert listens_on(listener, f"{HOST}:0")
        assert not listens_on(listener, f"{HOST}:{port + 1 if port < 65_535 else 1}")
        assert not listens_on(listener, f"127.0.0.2:{port}")
        assert not listens_on(listener, f"[::1]:{port}")
        assert not listens_on(listener, f"no.such.invalid:{port}")


def test_the_first_descriptor_is_systemd_s() -> None:
    assert module.FIRST == 3
