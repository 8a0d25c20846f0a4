"""Clients that post until their server is killed under them."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import signal
import threading
import time
from typing import Any

from tests.realtime.server_process import PATIENCE, ServerProcess


class Posters:
    """*count* clients that post one event after the other, each over a connection of its own; they begin at once."""

    def __init__(self, server: ServerProcess, count: int) -> None:
        self.acknowledged: list[dict[str, Any]] = []
        """The events that were answered with 201, of all clients."""
        self.refused: list[int] = []
        """The status of each other answer."""
        self._server = server
        self._news = threading.Condition()
        names = [f"client-{number}" for number in range(count)]
        self._threads = [threading.Thread(target=self._post, args=(name,), daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def _post(self, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE)
        try:
            for number in itertools.count():
                body = json.dumps({"type": "killed", "source": name, "data": {"n": number}})
                connection.request("POST", "/api/events", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                stored = json.loads(response.read())
                with self._news:
                    if response.status == 201:
                        self.acknowledged.append(stored)
                    else:
                        self.refused.append(response.status)
                    self._news.notify_all()
        except (OSError, http.client.HTTPException):
            return  # killed
        finally:
            connection.close()

    def wait_for(self, count: int) -> None:
        """Wait until so many events were acknowledged."""
        with self._news:
            enough = self._news.wait_for(lambda: len(self.acknowledged) >= count, PATIENCE)
            assert enough, f"{len(self.acknowledged)} of {count} were acknowledged; refused: {self.refused}"

    def kill(self, moments: random.Random, *, within: float = 0.01) -> None:
        """Kill the server in one of the *moments* of the next *within* seconds; all clients have ended then."""
        # The last answer that was waited for has just come: without a pause no other moment would ever be hit.
        time.sleep(moments.uniform(0, within))
        self._server.kill()
        assert self._server.wait() == -signal.SIGKILL
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
