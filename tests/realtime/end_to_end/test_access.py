"""Signing in, over real sockets: with tokens of a file, signed ones, and a function of the operator's own."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h2.events
import jwt
import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from tests.realtime.server_process import PATIENCE, Answer, ServerProcess
from tests.realtime.transport.rfc6455.kit import CLOSE, heard_in
from tests.realtime.transport.test_http2 import prior_knowledge

from .clients import in_thread, listening

ADMIN = "admin-correct-horse-battery-staple"
ANN = "ann-0123456789abcdef"
BOB = "bob-0123456789abcdef"
WRONG = "wrong-0123456789abcdef"
SECRET = "secret-0123456789abcdef-0123456789abcdef"

SIGN_IN = """
from realtime.policy.access import Principal


async def principal(headers):
    user = headers.get("cookie", "").removeprefix("user=")
    if user == "crash":
        raise RuntimeError("the directory is gone")
    return Principal(user, {"editors"}) if user else None
"""


def tokens_file(*, ann: str = ANN) -> str:
    """Bob's stands there as a hash alone."""
    bob = hashlib.sha256(BOB.encode()).hexdigest()
    return f'[tokens.ann]\ntoken = "{ann}"\nscopes = ["editors"]\n\n[tokens.bob]\nsha256 = "{bob}"\n'


def settings_in(folder: Path, **auth: Any) -> dict[str, Any]:
    (folder / "admin.token").write_text(ADMIN + "\n")
    (folder / "tokens.toml").write_text(tokens_file())
    (folder / "jwt.secret").write_text(SECRET)
    (folder / "sign_in.py").write_text(SIGN_IN)
    files = {"admin_token_file": "admin.token", "tokens_file": "tokens.toml", "use": "sign_in:principal"}
    signed = {"jwt_secret_file": "jwt.secret", "jwt_algorithms": ["HS256"], "jwt_audience": "realtime"}
    return {
        "log": {"level": "debug"},
        "auth": files | signed | {"required": True} | auth,
        'topics."room/*"': {"subscribe": "editors"},
    }


def signed(name: str = "cleo", seconds: float = 60, **claims: Any) -> str:
    wanted = {"sub": name, "exp": time.time() + seconds, "aud": "realtime"} | claims
    return jwt.encode(wanted, SECRET, "HS256")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def offered(token: str) -> dict[str, Any]:
    """As a browser offers it, which can set no header."""
    return {"subprotocols": ["realtime", f"realtime.bearer.{token}"]}


def code(answer: Answer) -> str:
    found: str = answer.json()["error"]["code"]
    return found


async def refused(server: ServerProcess, path: str, **options: Any) -> tuple[int, str]:
    """The close that comes after an opening handshake that succeeds."""
    with trio.fail_after(PATIENCE):
        async with connect(server.ws(path), compression=None, **options) as client:
            with pytest.raises(ConnectionClosed) as end:
                await client.recv()
            assert end.value.rcvd is not None
            return end.value.rcvd.code, end.value.rcvd.reason


async def test_each_kind_of_sign_in_opens_the_same_doors(tmp_path):
    """Contract 1 and 3: by header and by subprotocol, over HTTP and on WebSockets."""
    with ServerProcess(tmp_path, settings_in(tmp_path)) as server:
        for token in (ADMIN, ANN, BOB, signed()):
            answer = await in_thread(server.request, "GET", "/api/topics", headers=bearer(token))
            assert answer.status == 200
            async with listening(server, "/ws/s1", additional_headers=bearer(token)) as client:
                await client.first("time_update")
            async with listening(server, "/ws/s1", **offered(token)) as client:
                await client.first("time_update")
                assert client.socket.subprotocol == "realtime"
        async with listening(server, "/ws/s1", additional_headers={"Cookie": "user=dora"}) as client:
            await client.first("time_update")
            listing = await in_thread(server.request, "GET", "/api/connections", headers=bearer(BOB))
            (shown,) = listing.json()["connections"]
            assert shown["principal"] == "dora"


async def test_who_has_not_signed_in_is_told_so_in_a_way_that_a_browser_can_read(tmp_path):
    """Contract 3: accepted first and then closed with 4401; over HTTP 401 with ``WWW-Authenticate``."""
    with ServerProcess(tmp_path, settings_in(tmp_path)) as server:
        assert (await refused(server, "/ws/events"))[0] == 4401
        assert await refused(server, "/ws/s1", **offered(WRONG)) == (4401, "the token is not known")
        late = signed(seconds=-60)
        assert await refused(server, "/ws/s1", **offered(late)) == (4401, "the token has expired; get a new one")
        assert (await refused(server, "/ws/s1", **offered(signed(aud="another"))))[0] == 4401
        for headers in ({}, bearer(WRONG), bearer(late)):
            answer = await in_thread(server.request, "GET", "/api/topics", headers=headers)
            assert (answer.status, code(answer)) == (401, "not_authenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await in_thread(server.request, "GET", "/api/health")).status == 200
        assert not server.complaints()


async def test_a_scope_decides_about_a_topic_and_the_socket_stays(tmp_path):
    with ServerProcess(tmp_path, settings_in(tmp_path)) as server:
        async with listening(server, "/ws/s1", **offered(BOB)) as client:
            await client.send({"type": "subscribe", "topic": "room/1"})
            error = await client.first("error")
            assert (error["code"], error["topic"]) == ("not_allowed", "room/1")
            ticks = len(client.all("time_update"))
            await client.several(ticks + 1, "time_update")
        async with listening(server, "/ws/s1", **offered(signed(scope="editors"))) as client:
            await client.send({"type": "subscribe", "topic": "room/1"})
            # It may: that nobody has declared such a topic is another matter.
            assert (await client.first("error"))["code"] == "unknown_topic"
        answer = await in_thread(server.request, "GET", "/sse/room/1", headers=bearer(BOB))
        assert (answer.status, code(answer)) == (403, "not_allowed")


async def test_a_token_that_expires_or_is_taken_back_closes_what_it_opened(tmp_path):
    """Contract 3: 4401; at most a second or two late, without a restart, and nobody else is touched."""
    with ServerProcess(tmp_path, settings_in(tmp_path)) as server:
        async with listening(server, "/ws/bob", **offered(BOB)) as bob:
            async with listening(server, "/ws/short", **offered(signed(seconds=2))) as short:
                assert (await short.end()).code == 4401
            async with listening(server, "/ws/ann", **offered(ANN)) as ann:
                await ann.first("time_update")
                written = tmp_path / "tokens.new"
                written.write_text(tokens_file(ann="new-0123456789abcdef"))
                written.replace(tmp_path / "tokens.toml")
                end = await ann.end()
                assert (end.code, end.reason) == (4401, "the token was taken back")
            assert (await refused(server, "/ws/ann", **offered(ANN)))[0] == 4401
            async with listening(server, "/ws/ann", **offered("new-0123456789abcdef")) as ann:
                await ann.first("time_update")
            # What cannot be used changes nothing, and is told.
            (tmp_path / "tokens.toml").write_text("[tokens.ann]\n")
            line = await in_thread(server.wait_for_log, "credentials_kept")
            assert "tokens.ann.token or sha256 must be given" in line["problems"][0]
            ticks = len(bob.all("time_update"))
            await bob.several(ticks + 1, "time_update")
            assert bob.closed is None


def stream(server: ServerProcess, token: str) -> bytes:
    """All that is sent on ``/sse/clock`` until the server ends it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/sse/clock", headers=bearer(token))
        response = connection.getresponse()
        assert response.status == 200
        return response.read()
    finally:
        connection.close()


async def test_a_stream_of_server_sent_events_ends_with_its_token(tmp_path):
    with ServerProcess(tmp_path, settings_in(tmp_path)) as server:
        sent = await in_thread(stream, server, signed(seconds=2))
        assert b"event: time_update" in sent
        answer = await in_thread(server.request, "GET", "/sse/clock", headers=bearer(signed(seconds=-1)))
        assert answer.status == 401


async def test_a_principal_s_rate_holds_over_sockets_and_requests_together(tmp_path):
    """Contract 3 and 4: 4429, and 429 with ``Retry-After``."""
    with ServerProcess(tmp_path, settings_in(tmp_path, max_inbound_per_second=10)) as server:
        async with listening(server, "/ws/a", **offered(ANN)) as a, listening(server, "/ws/b", **offered(ANN)) as b:
            with contextlib.suppress(ConnectionClosed):  # it may come before all is said
                for _ in range(15):
                    await a.send({"type": "ping"})
                    await b.send({"type": "ping"})
            end = await (a if a.closed is not None else b).until(lambda: a.closed or b.closed)
            assert (end.code, end.reason) == (4429, "too many messages of this principal")
            # 100 ms for each would be slow enough.
            answers = await in_thread(
                lambda: [server.request("GET", "/api/topics", None, bearer(ANN)) for _ in range(40)]
            )
            late = next(answer for answer in answers if answer.status == 429)
            assert (code(late), late.headers["retry-after"]) == ("too_many_requests", "1")
            other = await in_thread(server.request, "GET", "/api/topics", headers=bearer(BOB))
            assert other.status == 200


def raw_answer(server: ServerProcess, header: str) -> str:
    """What comes back for a handshake with a line that is no header, or one that is not ASCII."""
    lines = [
        "GET /ws/s1 HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        header,
    ]
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1"))
        connection.settimeout(PATIENCE)
        answer = connection.recv(65_536).decode("latin-1")
    assert answer.startswith("HTTP/1.1 400"), answer
    return answer


async def test_no_token_is_in_the_log_nor_in_any_answer(tmp_path):
    """Everything that can go right or wrong with a token, at the level DEBUG, in a session from start to end."""
    late, forged, good = signed(seconds=-60), jwt.encode({"sub": "x"}, "f" * 40, "HS256"), signed("cleo")
    said: list[str] = []

    def ask(method: str, path: str, body: object = None, **headers: str) -> Answer:
        answer = server.request(method, path, body, headers)
        said.append(f"{answer.headers} {answer.body!r}")
        return answer

    with ServerProcess(tmp_path, settings_in(tmp_path), debug=True) as server:
        for token in (ADMIN, ANN, BOB, good, WRONG, late, forged):
            for path in ("/api/topics", "/api/supervisors", "/api/metrics", "/nothing", "/openapi.json"):
                ask("GET", path, **bearer(token))
            ask("POST", "/api/events", {"type": "x"}, **bearer(token))
            ask("POST", "/api/supervisors/heartbeat/restart", **bearer(token))
            ask("POST", "/api/supervisors/broadcasters/clock/crash", **bearer(token))
            # A crash of the hook, which has the token among its local variables.
            assert ask("GET", "/api/topics", **bearer(WRONG), Cookie="user=crash").status == 500
            async with connect(server.ws("/ws/s1"), compression=None, **offered(token)) as client:
                try:
                    for message in ({"type": "subscribe", "topic": "room/1"}, {"type": "nonsense"}, {"type": "ping"}):
                        await client.send(json.dumps(message))
                    said.append(str(await client.recv()))
                    said.append(str(ask("GET", "/api/connections", **bearer(BOB)).json()))
                except ConnectionClosed as end:
                    said.append(f"{end.rcvd}")
            # What no parser takes, or a header that has no business there.
            for line in (f"Authorization: Bearer {token}\0", f"Sec-WebSocket-Protocol: realtime.bearer.{token}\xff"):
                said.append(await in_thread(raw_answer, server, line))
        expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        (tmp_path / "tokens.toml").write_text(f'[tokens.ann]\ntoken = "{ANN}"\nexpires = "{expires}"\nwrong = 1\n')
        server.wait_for_log("credentials_kept")
        seen = len(server.log)
        (tmp_path / "tokens.toml").write_text("[tokens.ann\n")
        server.wait_for_log("credentials_kept", since=seen)
    log = server.text_of_log()
    assert "the directory is gone" in log
    assert any(line.get("level") == "debug" for line in server.log)
    for token in (ADMIN, ANN, BOB, good, WRONG, late, forged, SECRET):
        hashed = hashlib.sha256(token.encode())
        for secret in (token, token.split(".")[-1], hashed.hexdigest(), str(hashed.digest())):
            assert secret not in log
            assert not any(secret in text for text in said)


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"tokens_file": "nowhere"}, "nowhere cannot be read"),
        ({"use": "sign_in:nothing"}, "auth.use: sign_in:nothing cannot be imported: AttributeError"),
        ({"jwt_algorithms": ["HS512"]}, "HS512 needs a secret of at least 64 bytes"),
    ],
)
def test_what_cannot_be_used_is_an_error_at_start(tmp_path, auth, said):
    server = ServerProcess(tmp_path, settings_in(tmp_path, **auth))
    server.launch()
    assert server.wait() != 0
    assert said in server.text_of_log()


async def test_a_browser_signs_in_over_http2_as_well(tmp_path):
    """Where a page's sockets share one connection (RFC 8441)."""
    with ServerProcess(tmp_path, settings_in(tmp_path)) as server:
        assert b'"type":"subscribed"' in await first_over_http2(server, BOB)
        (refusal,) = heard_in(await first_over_http2(server, WRONG))
        assert refusal == (CLOSE, (4401).to_bytes(2) + b"the token is not known")


async def first_over_http2(server: ServerProcess, token: str) -> bytes:
    """What comes first on a WebSocket over HTTP/2."""
    async with prior_knowledge(server.port) as client:
        await client.request("GET", "/api/health")
        await client.wait(h2.events.StreamEnded)
        client.events.clear()
        protocols = ("sec-websocket-protocol", f"realtime, realtime.bearer.{token}")
        headers = [(":protocol", "websocket"), ("sec-websocket-version", "13"), protocols]
        await client.request("CONNECT", "/ws/s1", *headers, end=False)
        response = await client.wait(h2.events.ResponseReceived)
        named = dict(response.headers)
        assert (named[":status"], named["sec-websocket-protocol"]) == ("200", "realtime")
        return bytes(await client.wait_for_body(bool))
