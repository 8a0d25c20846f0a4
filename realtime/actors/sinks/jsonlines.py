"""The events as JSON lines: each event as on the wire, behind its position in the store; for programs.

[actors.event_log]
use = "realtime.actors.sinks.jsonlines"
path = "events.jsonl"
"""

from realtime.actors.sinks.entry import children_writing
from realtime.policy.loglines import JsonLines

children = children_writing(JsonLines(), id="jsonlines")
