"""What the routes work with: the services, the running tree, and in which phase of its life the process is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import attrs
from quart import current_app

from realtime.actors.access import Access
from realtime.actors.emitter import Emitter
from realtime.actors.events import EventManager
from realtime.actors.incoming import Webhooks
from realtime.actors.methods import Methods
from realtime.actors.presence import Presence
from realtime.actors.tasks import TaskManager
from realtime.delivery.hub import Hub
from realtime.delivery.refusals import Refusals
from realtime.policy import closing
from realtime.ports import EventStore
from realtime.settings import Settings
from realtime.storage.deliveries import DeliveryStore
from realtime.transport import Admission
from supervisors import Tree

if TYPE_CHECKING:
    from realtime.modules import Modules
    from realtime.web.mounts import Mounts

KEY = "realtime_backend"


def _webhooks(backend: Backend) -> Webhooks:
    return Webhooks.from_settings(backend.settings)


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
    access: Access
    emit: Emitter
    presence: Presence
    methods: Methods
    deliveries: DeliveryStore
    refusals: Refusals = attrs.field(factory=Refusals)
    webhooks: Webhooks = attrs.field(default=attrs.Factory(_webhooks, takes_self=True))
    admission: Admission | None = None
    tree: Tree | None = None
    modules: Modules | None = None
    mounts: Mounts | None = None
    phase: Literal["starting", "serving", "draining"] = "starting"
    absence: float = closing.RESTART
    restarts: int = 0
    began: float = attrs.field(factory=time.monotonic)


def backend() -> Backend:
    """The backend of the application that handles this request."""
    found: Backend = current_app.extensions[KEY]
    return found
