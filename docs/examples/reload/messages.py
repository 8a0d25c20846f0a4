"""What is sent to the counter.  Never reloaded, so that both versions of it know the same class."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Click:
    where: str
