"""What the routes work with: the services, the running tree, and in which phase of its life the process is."""

from __future__ import annotations

import hmac
import time
from typing import Literal

import attrs
from quart import current_app

from realtime.actors.events import EventManager
from realtime.actors.tasks import TaskManager
from realtime.delivery.hub import Hub
from realtime.policy import closing
from realtime.ports import EventStore
from realtime.settings import Settings
from supervisors import Tree

KEY = "realtime_backend"


@attrs.define
class Backend:
    """One per process; made before the tree runs, told of it when it does.

    Attributes:
      absence: seconds from the last close of a drain until a server is there again, as far as that is known.
      restarts: how often this process has begun anew in its own place.
      began: `time.monotonic` at the last beginning.
    """

    settings: Settings
    hub: Hub
    store: EventStore
    events: EventManager
    tasks: TaskManager
    tree: Tree | None = None
    phase: Literal["starting", "serving", "draining"] = "starting"
    admin_token: str | None = attrs.field(default=None, repr=False)
    absence: float = closing.RESTART
    restarts: int = 0
    began: float = attrs.field(factory=time.monotonic)

    def is_admin(self, authorization: str | None) -> bool:
        """Whether *authorization* (the header) carries the admin token; compared in constant time."""
        if self.admin_token is None or authorization is None:
            return False
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.admin_token.encode())


def backend() -> Backend:
    """The backend of the application that handles this request."""
    found: Backend = current_app.extensions[KEY]
    return found
