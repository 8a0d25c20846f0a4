"""What a topic published since its last delivery, in the two forms in which its subscribers get it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from realtime.delivery import frames
from realtime.delivery.frames import Frame
from realtime.delivery.message import Message


class Batch:
    """Messages that are delivered together; joined once, and once compressed, whoever and how many receive them."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = tuple(messages)
        #: Bytes of the largest of them: the most that can be left of a frame that was cut off.
        self.largest = max((message.size for message in self.messages), default=0)
        #: Bytes of `data`.
        self.size = sum(message.size for message in self.messages)

    @cached_property
    def data(self) -> bytes:
        """All frames, one behind the other; a lone one is not copied."""
        if len(self.messages) == 1:
            return self.messages[0].frame.data
        return b"".join([message.frame.data for message in self.messages])

    @cached_property
    def deflated(self) -> bytes:
        """The same for who has agreed on permessage-deflate: made when the first of them is served, if any is."""
        if len(self.messages) == 1:
            return self.messages[0].frame.deflated
        return b"".join([message.frame.deflated for message in self.messages])

    def left(self, taken: int, *, deflated: bool = False) -> tuple[Frame | None, Sequence[Message]]:
        """What is left of it when the first *taken* bytes are written of `data`, or of `deflated` if that is said:
        the rest of a frame, and whole messages.
        """
        for place, message in enumerate(self.messages):
            form = message.frame.deflated if deflated else message.frame.data
            if taken < len(form):
                if not taken:
                    return None, self.messages[place:]
                return frames.rest(form[taken:]), self.messages[place + 1 :]
            taken -= len(form)
        return None, ()

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)
