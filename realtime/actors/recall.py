"""The history of ``events`` after a restart: read from the store once, before the first client is served.

From then on the hub keeps it up to date by itself, so that a thousand clients that come back at once are sent the same
frames, without a read for each of them.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio

from realtime.delivery.hub import Hub
from realtime.ports import EventStore, StoreError, StoreStopped

PART: Final = 50
"""Events read at a time: at 256 KiB each, the most that one may have, 13 MB."""

PATIENCE: Final = 5.0
"""Seconds; a store that takes longer would hold up the start for something that clients can do without."""

logger = structlog.get_logger("realtime.events")


async def recall(hub: Hub, store: EventStore, topic: str = "events") -> None:
    """Fill the history of *topic* with the last events of *store*, as far as there are events and there is room.

    The position of the topic is the store's by now. Only what can be read is recalled: a client that asks for more is
    told that it cannot be recovered. A checkpoint.
    """
    try:
        with trio.move_on_after(PATIENCE):
            await _recall(hub, store, topic)
            return
        logger.warning("history_not_recalled", topic=topic, cause=f"no answer within {PATIENCE:g} s")
    except (StoreError, StoreStopped) as error:
        logger.warning("history_not_recalled", topic=topic, cause=str(error))


async def _recall(hub: Hub, store: EventStore, topic: str) -> None:
    part = PART
    await trio.lowlevel.checkpoint()
    while part:
        oldest, room = hub.oldest(topic)
        upto = oldest - 1
        count = min(part, room, upto)
        if count <= 0:
            return
        events = await store.since(store.epoch, upto - count, upto, count)
        if events is None:  # some of them have expired, and perhaps not all
            part //= 2
            continue
        for event in reversed(events):
            if not hub.recall(topic, "event", event.to_wire(), event.offset):
                return
