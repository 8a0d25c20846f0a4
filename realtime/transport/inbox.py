"""What has arrived and was not taken yet: a bounded queue whose end never waits behind its bound."""

from __future__ import annotations

import sys
from collections import deque
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue from the reader of a socket to its application.

    A memory channel would do, but for two things: it is bounded in bytes as well, and `finish` takes no room,
    so that the reader can always say that the peer has left. One task puts, one gets.

    Args:
      max_items, max_bytes: full when either is reached; so one item of any size always finds room.
    """

    __slots__ = ("_arrival", "_bytes", "_finished", "_items", "_max_bytes", "_max_items", "_room")

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        # None while it is empty: an empty deque takes 700 bytes, and an idle connection has nothing in it.
        self._items: deque[tuple[T, int]] | None = None
        self._bytes = 0
        self._finished = False
        # Made when somebody waits: an idle connection has none.
        self._arrival: trio.Event | None = None
        self._room: trio.Event | None = None

    @property
    def full(self) -> bool:
        """Whether the next item has to wait for room."""
        items = 0 if self._items is None else len(self._items)
        return not self._finished and (items >= self._max_items or self._bytes >= self._max_bytes)

    @property
    def ready(self) -> bool:
        """Whether `get` need not wait: there is an item, or the end has come."""
        return self._items is not None or self._finished

    def put(self, item: T, size: int) -> None:
        """Add *item* of *size* bytes; after the end it is dropped. See `full` and `wait_room`."""
        if not self._finished:
            if self._items is None:
                self._items = deque()
            self._items.append((item, size))
            self._bytes += size
            self._wake_getter()

    def finish(self) -> None:
        """Nothing more comes: what is queued can still be taken. May be called again."""
        self._finished = True
        self._wake_getter()
        self._wake_putter()

    def lift(self) -> None:
        """Have no bound any more: whoever puts sees to it by not putting."""
        self._max_items = self._max_bytes = sys.maxsize
        self._wake_putter()

    async def wait_room(self) -> None:
        """Until it is not full, or has ended. A checkpoint if it is full."""
        while self.full:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    async def get(self) -> T:
        """The next item. A checkpoint; cancelling loses nothing.

        Raises:
          trio.EndOfChannel: there is none and none will come.
        """
        if self._items or self._finished:
            await trio.lowlevel.checkpoint()
        while not self._items:
            if self._finished:
                raise trio.EndOfChannel
            if self._arrival is None:
                self._arrival = trio.Event()
            await self._arrival.wait()
        return self.get_nowait()

    def get_nowait(self) -> T:
        """The next item.

        Raises:
          trio.EndOfChannel: there is none and none will come.
          trio.WouldBlock: there is none yet.
        """
        if not self._items:
            raise trio.EndOfChannel if self._finished else trio.WouldBlock
        item, size = self._items.popleft()
        if not self._items:
            self._items = None
        self._bytes -= size
        if not self.full:
            self._wake_putter()
        return item

    def _wake_getter(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None

    def _wake_putter(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
