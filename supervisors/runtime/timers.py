"""What is to happen when: a heap whose entries can be taken back without being left behind in it."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

TIDY_FROM: Final = 64
"""Entries taken back before it is worth while to look for them; then the heap is rebuilt when they are half of it."""


class Entry(Generic[Item]):
    """One thing to come; :meth:`cancel` takes it back and lets go of what it held."""

    __slots__ = ("_agenda", "due", "item")

    def __init__(self, due: float, item: Item, agenda: Agenda[Item]) -> None:
        self.due = due
        self.item: Item | None = item
        self._agenda = agenda

    def cancel(self) -> None:
        """Take it back, unless it was handed out.  Can be called more than once."""
        if self.item is not None:
            self.item = None
            self._agenda.taken_back()


class Agenda(Generic[Item]):
    """Entries ordered by due time, those of the same time as they were added.  Times are in seconds."""

    __slots__ = ("_dead", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry[Item]]] = []
        self._order = count()
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def add(self, due: float, item: Item) -> Entry[Item]:
        """Hand out *item* once it is *due*."""
        entry = Entry(due, item, self)
        heapq.heappush(self._heap, (due, next(self._order), entry))
        return entry

    def next_due(self) -> float:
        """When the next entry is due; infinity without one."""
        while self._heap and self._heap[0][2].item is None:
            heapq.heappop(self._heap)
            self._dead -= 1
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now: float) -> Item | None:
        """The earliest item that is due at *now*; None without one."""
        if self.next_due() > now:
            return None
        entry = heapq.heappop(self._heap)[2]
        item, entry.item = entry.item, None
        return item

    def clear(self) -> None:
        """Take back everything."""
        for _, _, entry in self._heap:
            entry.item = None
        self._heap.clear()
        self._dead = 0

    def taken_back(self) -> None:
        """An entry was cancelled; rebuild the heap when too many are."""
        self._dead += 1
        if self._dead > TIDY_FROM and self._dead * 2 > len(self._heap):
            self._heap = [slot for slot in self._heap if slot[2].item is not None]
            heapq.heapify(self._heap)
            self._dead = 0
