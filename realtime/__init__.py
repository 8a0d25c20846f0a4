"""Live data to many web clients, from actors under supervision.

A Quart-Trio application served by Hypercorn. Every broadcaster and the heartbeat is a supervised actor, every
connection has its own send actor behind a bounded outbox, and the tree that carries them can be watched live.
``realtime serve`` starts it; `realtime.plugins` is where an actor module of one's own begins. Importing this
package alone loads none of that.
"""

from importlib.metadata import version

__version__ = version("realtime-supervised")
