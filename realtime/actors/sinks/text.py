"""The events as text: one line for each event; for people and for grep.

[actors.event_log]
use = "realtime.actors.sinks.text"
path = "events.log"
"""

from realtime.actors.sinks.entry import children_writing
from realtime.policy.loglines import TextLines

children = children_writing(TextLines(), id="text")
