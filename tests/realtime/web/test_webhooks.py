"""Contract 4: ``POST /api/webhooks/<name>``, signed by HMAC; 202."""

import time

import pytest

from realtime.policy.signatures import Scheme
from realtime.sections import Auth, WebhookSettings
from realtime.settings import SettingsError

from ..in_process import error_of, make_settings, receive, running

SECRET = b"0123456789abcdef"
BODY = b'{"ref":"main", "n":1}'


def settings(tmp_path, **options):
    (tmp_path / "forge.secret").write_bytes(b"an older secret of ours\n" + SECRET + b"\n")
    webhook = WebhookSettings(secret_file=tmp_path / "forge.secret", **options)
    return make_settings(webhooks={"forge": webhook})


@pytest.fixture
async def system(tmp_path):
    async with running(settings(tmp_path, severity="warning", source="the forge", tags=("code",))) as found:
        yield found


async def post(system, body=BODY, *, name="forge", scheme=None, secret=SECRET, **headers):
    signed = (Scheme() if scheme is None else scheme).sign(secret, body, time.time())
    given = {"Content-Type": "application/json", **signed, **headers}
    given = {key: value for key, value in given.items() if value is not None}
    return await system.client.post(f"/api/webhooks/{name}", data=body, headers=given)


def figures(system):
    return system.system.backend.webhooks.statistics()["forge"]


async def test_a_signed_message_becomes_an_event_and_is_pushed(system):
    async with system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        answer = await post(system)
        assert answer.status_code == 202
        (message,) = await receive(socket, 1)
    event = message["data"]
    assert await answer.get_json() == {"event_id": event["event_id"]}
    assert (event["type"], event["data"]) == ("webhook.forge", {"ref": "main", "n": 1})
    assert (event["severity"], event["source"], event["tags"]) == ("warning", "the forge", ["code"])
    assert figures(system).accepted == 1


async def test_each_of_the_secrets_counts(system):
    assert (await post(system, secret=b"an older secret of ours")).status_code == 202


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"X-Hub-Signature-256": None}, 401, "signature_missing"),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, 403, "signature_wrong"),
        ({"X-Hub-Signature-256": "é"}, 403, "signature_wrong"),
    ],
)
async def test_without_the_right_signature_it_is_refused_and_counted(system, headers, status, code):
    error = await error_of(await post(system, **headers), status, code)
    assert "X-Hub-Signature-256" in error["message"]
    found = figures(system)
    assert (found.accepted, found.missing, found.wrong) == (0, status == 401, status == 403)
    assert system.system.backend.refusals.statistics().http[code] == 1
    assert system.system.store.statistics().appended == 0


async def test_a_message_that_was_changed_on_its_way_is_refused(system):
    signed = Scheme().sign(SECRET, BODY, 0)
    await error_of(await post(system, BODY + b" ", **signed), 403, "signature_wrong")


async def test_with_a_time_an_old_message_is_refused(tmp_path):
    scheme = Scheme(header="X-Signature", timestamp_header="X-Time")
    options = {"signature_header": "X-Signature", "timestamp_header": "X-Time"}
    async with running(settings(tmp_path, **options)) as system:
        assert (await post(system, scheme=scheme)).status_code == 202
        old = scheme.sign(SECRET, BODY, time.time() - 400)
        await error_of(await post(system, **old), 403, "signature_stale")
        await error_of(await post(system), 401, "signature_missing")
        assert (figures(system).accepted, figures(system).stale, figures(system).missing) == (1, 1, 1)


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b'{"x":NaN}'])
async def test_what_is_signed_but_no_json_object_is_400(system, body):
    await error_of(await post(system, body), 400, "bad_request")


async def test_the_size_is_bounded(system):
    body = b'{"x":"' + b"x" * 70_000 + b'"}'
    await error_of(await post(system, body), 413, "too_large")


async def test_another_type_of_content_is_415(system):
    await error_of(await post(system, **{"Content-Type": "text/plain"}), 415, "wrong_type")


async def test_an_unknown_webhook_is_404(system):
    error = await error_of(await post(system, name="other"), 404, "not_found")
    assert "[webhooks]" in error["message"]


async def test_only_post_is_understood(system):
    await error_of(await system.client.get("/api/webhooks/forge"), 405, "method_not_allowed")


async def test_a_webhook_needs_no_token_where_everybody_else_does(tmp_path):
    (tmp_path / "admin").write_text("an admin token")
    base = settings(tmp_path)
    auth = Auth(admin_token_file=tmp_path / "admin", required=True)
    async with running(make_settings(webhooks=base.webhooks, auth=auth)) as system:
        assert (await post(system)).status_code == 202


async def test_secrets_that_cannot_be_read_are_all_named_at_the_start(tmp_path):
    (tmp_path / "short").write_text("short")
    webhooks = {name: WebhookSettings(secret_file=tmp_path / name) for name in ("gone", "short")}
    with pytest.raises(SettingsError) as caught:
        async with running(make_settings(webhooks=webhooks)):
            raise AssertionError("never reached")
    gone, short = caught.value.problems
    assert gone.startswith("webhooks.gone.secret_file:")
    assert "No such file" in gone
    assert "less than 16 bytes" in short
