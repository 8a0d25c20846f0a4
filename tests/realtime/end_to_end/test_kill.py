"""What was acknowledged survives a kill of the server, whenever it comes."""

from __future__ import annotations

from typing import Any

from tests.realtime.server_process import ServerProcess

from .kills import Posters

ROUNDS = 4
CLIENTS = 4


def test_every_event_answered_with_201_is_there_after_a_kill(make_server, chance):
    """Design 5: no acknowledged event is lost when the process is killed; contract 4: 201 means committed."""
    acknowledged: list[dict[str, Any]] = []
    server: ServerProcess = make_server()
    for _ in range(ROUNDS):
        server.start()
        posters = Posters(server, CLIENTS)
        posters.wait_for(chance.randrange(20, 200))
        posters.kill(chance)
        assert not posters.refused
        acknowledged += posters.acknowledged

    server.start()
    stored = server.all_events()
    by_id = {event["event_id"]: event for event in stored}
    assert len(by_id) == len(stored)
    assert all(by_id.get(event["event_id"]) == event for event in acknowledged)
    # Nothing else than what was sent: at most one more of each client, committed but not answered any more.
    assert len(acknowledged) <= len(stored) <= len(acknowledged) + ROUNDS * CLIENTS
    # In the order of their creation, which is that of the ids, for each client and for all.
    assert [event["event_id"] for event in stored] == sorted(by_id)
    assert server.stop() == 0
    assert not server.complaints()
