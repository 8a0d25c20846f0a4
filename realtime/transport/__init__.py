"""The way to the clients: Hypercorn's protocols on Trio, with writes that end and connections that belong to a tree."""

from .admission import Admission as Admission
from .admission import AdmissionStatistics as AdmissionStatistics
from .asgi import AsgiWire as AsgiWire
from .asgi import WebsocketConnection as WebsocketConnection
from .asgi import open_wire as open_wire
from .config import ServerConfig as ServerConfig
from .config import UnsupportedHypercorn as UnsupportedHypercorn
from .config import check_hypercorn as check_hypercorn
from .handover import listens_on as listens_on
from .handover import take_over as take_over
from .listener import open_listener as open_listener
from .server import serve as serve
from .wire import SocketWire as SocketWire
