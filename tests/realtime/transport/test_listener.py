"""The listening socket, and accepting on a copy of it."""

from __future__ import annotations

import errno
import socket

import pytest
import trio

from realtime.transport import open_listener
from realtime.transport.listener import GuardedListener

from .harness import HOST, connect, reset


def test_it_listens_and_does_not_block() -> None:
    with open_listener(f"{HOST}:0") as listener:
        assert not listener.getblocking()
        with socket.create_connection(listener.getsockname()):
            pass


def test_ipv6_in_brackets() -> None:
    with open_listener("[::1]:0") as listener:
        assert listener.family is socket.AF_INET6


def test_an_address_in_use_is_named() -> None:
    with open_listener(f"{HOST}:0") as listener:
        bind = f"{HOST}:{listener.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {bind}: Address already in use") as caught:
            open_listener(bind)
        assert caught.value.errno == errno.EADDRINUSE


def test_a_port_can_be_bound_again_at_once() -> None:
    with open_listener(f"{HOST}:0") as listener:
        bind = f"{HOST}:{listener.getsockname()[1]}"
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            accepted.close()
            client.recv(1)
    open_listener(bind).close()


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.invalid:80: "):
        open_listener("no.such.invalid:80")


def test_a_bad_form_is_told() -> None:
    with pytest.raises(ValueError, match="host:port"):
        open_listener("localhost")


async def test_a_client_that_reset_before_it_was_accepted_is_skipped() -> None:
    listening = open_listener(f"{HOST}:0")
    port = listening.getsockname()[1]
    listener = GuardedListener(trio.SocketListener(trio.socket.from_stdlib_socket(listening)), 1)
    async with listener:
        reset(await connect(port))
        async with await connect(port) as client, await listener.accept() as accepted:
            assert accepted.socket.getpeername() == client.socket.getsockname()
