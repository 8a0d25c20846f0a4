"""Events that outlive the program, without hub, server or tree."""

import logging

import attrs
import structlog
import trio

from realtime.actors.events import EventManager, event_type, open_events

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


@event_type("door_opened", severity="warning")
@attrs.frozen
class DoorOpened:
    door: int = attrs.field(validator=attrs.validators.ge(1))
    by: str | None = None


def watch_lock(events: EventManager) -> None:
    """Blocks, and so runs in a thread."""
    events.create_event_from_thread(DoorOpened(2), source="lock")


async def main() -> None:
    async with open_events("events.db", types=[DoorOpened]) as events:
        with events.subscribe() as received:
            await events.create_event(DoorOpened(1, by="alice"), tags=["north"])
            await events.create_event(type="lights", data={"on": True})
            await trio.to_thread.run_sync(watch_lock, events)
            for _ in range(3):
                stored = await received.receive()
                print(stored.offset, stored.severity, events.decode(stored))


trio.run(main)
