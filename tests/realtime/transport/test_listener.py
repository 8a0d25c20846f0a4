"""The listening socket, and accepting on a copy of it."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from realtime.transport import open_listener
from realtime.transport.listener import GuardedListener
from realtime.transport.stream import GuardedStream

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


async def test_of_a_client_that_reset_before_it_was_accepted_the_address_is_known() -> None:
    listening = open_listener(f"{HOST}:0")
    port = listening.getsockname()[1]
    async with GuardedListener(listening, 1) as listener:
        reset(await connect(port))
        async with await listener.accept() as accepted:
            assert accepted.address == HOST
            with pytest.raises(trio.BrokenResourceError):
                await accepted.receive_some()


class Crowded:
    """A listening socket; the first attempts to accept find no room for one more connection."""

    def __init__(self, listening: socket.socket, attempts: int, number: int) -> None:
        self._listening = listening
        self.attempts = attempts
        self._number = number

    def accept(self) -> tuple[socket.socket, object]:
        if self.attempts:
            self.attempts -= 1
            raise OSError(self._number, os.strerror(self._number))
        return self._listening.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self._listening, name)


async def serve_one(listener: GuardedListener) -> GuardedStream:
    found: list[GuardedStream] = []
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            def handle(stream: GuardedStream) -> None:
                found.append(stream)
                nursery.cancel_scope.cancel()

            nursery.start_soon(listener.serve, handle)
    return found[0]


async def test_while_there_is_no_room_it_is_tried_again() -> None:
    listening = open_listener(f"{HOST}:0")
    crowded: Any = Crowded(listening, 2, errno.EMFILE)
    with capture_logs() as log:
        async with GuardedListener(crowded, 1) as listener, await connect(listening.getsockname()[1]):
            (await serve_one(listener)).close()
    assert crowded.attempts == 0
    assert [line["event"] for line in log] == ["cannot accept"] * 2


async def test_a_connection_that_ended_in_the_queue_is_passed_over() -> None:
    listening = open_listener(f"{HOST}:0")
    crowded: Any = Crowded(listening, 2, errno.ECONNABORTED)
    async with GuardedListener(crowded, 1) as listener, await connect(listening.getsockname()[1]):
        (await serve_one(listener)).close()
    assert crowded.attempts == 0


async def test_a_socket_that_fails_ends_the_serving() -> None:
    listening = open_listener(f"{HOST}:0")
    crowded: Any = Crowded(listening, 1, errno.EBADF)
    async with GuardedListener(crowded, 1) as listener, await connect(listening.getsockname()[1]):
        with pytest.RaisesGroup(OSError):
            await serve_one(listener)


async def test_all_that_wait_are_accepted_in_turn() -> None:
    listening = open_listener(f"{HOST}:0")
    found: list[int] = []
    async with GuardedListener(listening, 1) as listener:
        clients = [await connect(listening.getsockname()[1]) for _ in range(40)]
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                def handle(stream: GuardedStream) -> None:
                    found.append(stream.socket.getpeername()[1])
                    stream.close()
                    if len(found) == len(clients):
                        nursery.cancel_scope.cancel()

                nursery.start_soon(listener.serve, handle)
        assert sorted(found) == sorted(client.socket.getsockname()[1] for client in clients)
        for client in clients:
            client.socket.close()


async def test_accepted_sockets_have_what_the_listener_was_given() -> None:
    listening = open_listener(f"{HOST}:0")
    async with (
        GuardedListener(listening, 1) as listener,
        await connect(listening.getsockname()[1]),
        await listener.accept() as accepted,
    ):
        assert accepted.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not accepted.socket.getblocking()
        if sys.platform == "linux":
            assert accepted.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 2**14
