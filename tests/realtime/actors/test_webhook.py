"""The webhook in virtual time: when it posts, how often, and where it goes on."""

import contextlib
import json
from functools import partial

import pytest
import structlog
import trio
import trio.testing

from realtime.actors import posting
from realtime.actors.delivering import WebhookSink
from realtime.actors.posting import check_url
from realtime.policy.attempts import Attempt, Patience
from realtime.policy.pages import Cursor
from realtime.policy.selection import Selection
from realtime.policy.signatures import Scheme, verify
from realtime.ports import NewEvent
from realtime.settings import ActorSettings
from realtime.storage.deliveries import DeliveryStore

from ..in_process import error_of, make_settings, running

SECRET = b"0123456789abcdef"
OK = Attempt(200)
DOWN = Attempt(503, "answered with 503")
NEVER = Attempt(404, "answered with 404")


class Receiver:
    """Somebody else's server: answers as it is told, and remembers what came and when."""

    def __init__(self, *answers, then=OK):
        self.answers = list(answers)
        self.then = then
        self.got = []
        self.seconds = 0.0

    @contextlib.asynccontextmanager
    async def connect(self):
        yield self.post

    async def post(self, body, headers):
        await trio.sleep(self.seconds)
        self.got.append((trio.current_time(), json.loads(body)["type"], dict(headers), body))
        return self.answers.pop(0) if self.answers else self.then

    @property
    def times(self):
        return [time for time, *_ in self.got]

    @property
    def types(self):
        return [type for _, type, *_ in self.got]


@pytest.fixture
def deliveries():
    return DeliveryStore(":memory:")


@pytest.fixture
def make(store, deliveries):
    def make(receiver, **options):
        options = {"selection": Selection(), "random": lambda: 0.0, "begin": "oldest"} | options
        return WebhookSink(store, deliveries, "a", receiver.connect, **options)

    return make


async def create(store, *types):
    return [await store.append(NewEvent(type)) for type in types]


@contextlib.asynccontextmanager
async def posting_to(sink):
    async with trio.open_nursery() as nursery:
        await nursery.start(sink.run)
        yield sink
        await quiet()
        nursery.cancel_scope.cancel()


async def quiet():
    await trio.testing.wait_all_tasks_blocked()


async def test_each_event_is_posted_in_order_with_its_id_and_as_on_the_wire(store, make):
    first = await create(store, "a")
    receiver = Receiver()
    async with posting_to(make(receiver)):
        events = first + await create(store, "b", "c")
    assert [json.loads(body) for *_, body in receiver.got] == [event.to_wire() for event in events]
    headers = receiver.got[0][2]
    assert headers["Content-Type"] == "application/json"
    assert (headers["X-Event-Id"], headers["X-Event-Type"]) == (events[0].event_id, "a")
    assert "X-Hub-Signature-256" not in headers


@pytest.mark.parametrize("scheme", [Scheme(), Scheme("X-Signature", "X-Time")])
async def test_a_body_is_signed_so_that_our_own_webhooks_accept_it(store, make, autojump_clock, scheme):
    receiver = Receiver(DOWN)
    now = [1_767_225_600.0]
    async with posting_to(make(receiver, secret=SECRET, scheme=scheme, clock=lambda: now[0])):
        await create(store, "a")
        await quiet()
        now[0] += 1000
        await trio.sleep(10)
    (_, _, before, body), (_, _, after, _) = receiver.got
    assert verify(scheme, [SECRET], before, body, now[0] - 1000) is None
    # Signed anew for each attempt: a signed time grows old.
    assert verify(scheme, [SECRET], after, body, now[0]) is None


async def test_it_is_tried_again_with_growing_delays(store, make, autojump_clock):
    receiver = Receiver(DOWN, Attempt(None, "no answer"), DOWN, DOWN)
    async with posting_to(make(receiver, patience=Patience(attempts=9, first=2, maximum=6))) as sink:
        await create(store, "a", "b")
        await trio.sleep(30)
        figures = sink.statistics()
    assert receiver.types == ["a", "a", "a", "a", "a", "b"]
    # Half of the delays, as chance is at its lowest: 2, 4, and then the longest, 6.
    assert receiver.times == [0, 1, 3, 6, 9, 9]
    assert (figures.delivered, figures.failed_attempts, figures.behind, figures.buried) == (2, 4, 0, 0)
    assert (figures.attempt, figures.last_error) == (0, "answered with 503")


async def test_retry_after_is_waited_for(store, make, autojump_clock):
    receiver = Receiver(Attempt(429, "answered with 429", retry_after=60))
    async with posting_to(make(receiver)):
        await create(store, "a")
        await trio.sleep(100)
    assert receiver.times == [0, 60]


async def test_what_is_given_up_is_kept_and_the_next_goes_on(store, make, deliveries, autojump_clock):
    receiver = Receiver(DOWN, DOWN, DOWN)
    with structlog.testing.capture_logs() as logs:
        async with posting_to(make(receiver, patience=Patience(attempts=3))) as sink:
            (event, _) = await create(store, "a", "b")
            await trio.sleep(100)
            figures = sink.statistics()
    assert receiver.types == ["a", "a", "a", "b"]
    (letter,) = await deliveries.letters()
    assert letter.event == event.to_wire()
    assert (letter.attempts, letter.status, letter.error) == (3, 503, "answered with 503")
    assert (figures.delivered, figures.buried, figures.dead_letters) == (1, 1, 1)
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["webhook_gave_up"]


async def test_what_was_refused_is_not_tried_again(store, make, deliveries, autojump_clock):
    receiver = Receiver(NEVER)
    async with posting_to(make(receiver)):
        await create(store, "a", "b")
    assert receiver.types == ["a", "b"]
    assert [letter.status for letter in await deliveries.letters()] == [404]


async def test_a_dead_letter_is_sent_again_before_newer_events(store, make, deliveries, autojump_clock):
    receiver = Receiver(NEVER, NEVER)
    async with posting_to(make(receiver)) as sink:
        await create(store, "a", "b")
        await quiet()
        first, second = await deliveries.letters()
        receiver.answers = [OK, NEVER]
        await deliveries.send_again(first.id)
        await quiet()
        assert [letter.id for letter in await deliveries.letters()] == [second.id]
        await deliveries.send_again(second.id)
        await quiet()
        assert sink.statistics().dead_letters == 1
    (letter,) = await deliveries.letters()
    assert (letter.attempts, letter.again) == (2, False)
    assert receiver.types == ["a", "b", "a", "b"]


async def test_a_letter_that_was_asked_for_while_nobody_ran_is_sent_at_the_start(store, make, deliveries):
    async with posting_to(make(Receiver(NEVER))):
        await create(store, "a")
    (letter,) = await deliveries.letters()
    await deliveries.send_again(letter.id)
    receiver = Receiver()
    async with posting_to(make(receiver)):
        pass
    assert receiver.types == ["a"]
    assert await deliveries.count() == 0


async def test_stopped_or_crashed_it_goes_on_where_it_was(store, make, deliveries):
    await create(store, "a", "b")
    receiver = Receiver()
    async with posting_to(make(receiver)):
        pass
    await create(store, "c")
    async with posting_to(make(receiver)):
        pass
    assert receiver.types == ["a", "b", "c"]
    assert await deliveries.position("a") == Cursor(store.epoch, 3)


async def test_what_was_being_posted_when_it_was_stopped_is_posted_again(store, make, autojump_clock):
    receiver = Receiver()
    receiver.seconds = 5
    with trio.move_on_after(7):
        async with posting_to(make(receiver)):
            await create(store, "a", "b")
            await trio.sleep(100)
    assert receiver.types == ["a"]
    async with posting_to(make(receiver)):
        await trio.sleep(20)
    assert receiver.types == ["a", "b"]


async def test_it_begins_with_the_next_event_unless_it_is_told_otherwise(store, make, deliveries):
    await create(store, "old")
    receiver = Receiver()
    async with posting_to(make(receiver, begin="now")):
        # Kept before anything was posted, so that nothing is skipped if it is killed here.
        assert await deliveries.position("a") == Cursor(store.epoch, 1)
    await create(store, "new")
    async with posting_to(make(receiver, begin="now")):
        pass
    assert receiver.types == ["new"]


async def test_only_what_is_selected_is_posted_and_the_rest_is_done_with_too(store, make, deliveries):
    receiver = Receiver()
    async with posting_to(make(receiver, selection=Selection(types=("b*",)))) as sink:
        await create(store, "a", "b1", "a", "b2", "a")
        await quiet()
        assert sink.statistics().behind == 0
    assert receiver.types == ["b1", "b2"]
    assert await deliveries.position("a") == Cursor(store.epoch, 5)


async def test_two_of_one_name_are_refused(make, store):
    async with posting_to(make(Receiver())):
        with pytest.raises(ValueError, match="two sinks are called 'a'"):
            await make(Receiver()).run()
    async with posting_to(make(Receiver())):
        pass


async def test_start_and_stop_are_logged(make):
    with structlog.testing.capture_logs() as logs:
        async with posting_to(make(Receiver())):
            pass
    assert [log["event"] for log in logs] == ["webhook_started", "webhook_stopped"]


@pytest.mark.parametrize(
    "url", ["", "ftp://a/", "http://", "http:///x", "http://u:hush@a/", "http://a:99999/", "a/b", "http://é/"]
)
def test_a_url_that_cannot_be_posted_to_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match=r"^url must") as caught:
        check_url(url)
    assert "hush" not in str(caught.value)


# --- as an actor module ----------------------------------------------------------------------------------------------

ADMIN = {"Authorization": "Bearer an admin token of ours"}


@pytest.fixture
def settings(tmp_path):
    from realtime.sections import Auth

    (tmp_path / "admin").write_text("an admin token of ours")

    def settings(**options):
        hook = ActorSettings(use="realtime.actors.webhook", options={"url": "http://127.0.0.1:1/"} | options)
        return make_settings(actors={"hook": hook}, auth=Auth(admin_token_file=tmp_path / "admin"))

    return settings


@pytest.fixture
def receiver(monkeypatch):
    receiver = Receiver(NEVER, NEVER)
    monkeypatch.setattr("realtime.actors.webhook.poster", lambda *_, **__: receiver.connect())
    return receiver


async def test_operators_see_dead_letters_and_send_them_again(settings, receiver):
    async with running(settings()) as system:
        await system.system.services.events.create_event(type="a")
        await system.system.services.events.create_event(type="b")
        await quiet()
        page = await system.get("/api/dead-letters?limit=1", headers=ADMIN)
        assert (page["total"], page["next"], len(page["dead_letters"])) == (2, page["dead_letters"][0]["id"], 1)
        first = page["dead_letters"][0]
        assert (first["sink"], first["event"]["type"], first["status"]) == ("webhook", "a", 404)
        rest = await system.get(f"/api/dead-letters?after={page['next']}&sink=webhook", headers=ADMIN)
        assert [letter["event"]["type"] for letter in rest["dead_letters"]] == ["b"]
        assert (await system.get("/api/dead-letters?sink=other", headers=ADMIN))["total"] == 0

        answer = await system.client.post(f"/api/dead-letters/{first['id']}/again", headers=ADMIN)
        assert (answer.status_code, (await answer.get_json())["again"]) == (202, True)
        await quiet()
        assert receiver.types == ["a", "b", "a"]
        answer = await system.client.delete(f"/api/dead-letters/{page['next']}", headers=ADMIN)
        await error_of(answer, 404, "not_found")
        second = rest["dead_letters"][0]["id"]
        assert (await system.client.delete(f"/api/dead-letters/{second}", headers=ADMIN)).status_code == 204
        assert (await system.get("/api/dead-letters", headers=ADMIN))["total"] == 0
        assert system.tree.find("broadcasters/hook").stats["delivered"] == 1


@pytest.mark.parametrize(("method", "path"), [("get", ""), ("post", "/1/again"), ("delete", "/1")])
async def test_dead_letters_are_for_operators_alone(settings, receiver, method, path):
    async with running(settings()) as system:
        ask = partial(getattr(system.client, method), f"/api/dead-letters{path}")
        await error_of(await ask(), 403, "not_allowed")
        if method != "get":
            await error_of(await ask(headers=ADMIN), 404, "not_found")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "after=-1", "sink=", "x=1", "limit=1&limit=2"])
async def test_a_bad_query_is_400(settings, receiver, query):
    async with running(settings()) as system:
        await error_of(await system.client.get(f"/api/dead-letters?{query}", headers=ADMIN), 400, "bad_request")


async def test_an_id_that_is_none_is_404(settings, receiver):
    async with running(settings()) as system:
        for id in ("x", "9" * 19, "-1", "٣"):
            await error_of(await system.client.delete(f"/api/dead-letters/{id}", headers=ADMIN), 404, "not_found")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "ftp://a"}, "url must be"),
        ({"attempts": 0}, "attempts"),
        ({"timeout": 0}, "timeout"),
        ({"types": ["a b"]}, "types"),
        ({"begin": "later"}, "begin"),
        ({"secret_file": "gone"}, "No such file"),
    ],
)
async def test_wrong_options_are_named_at_the_start(settings, options, problem):
    from realtime.plugins import PluginError

    with pytest.raises(PluginError, match=problem):
        async with running(settings(**options)):
            raise AssertionError("never reached")


async def test_without_the_http_client_it_says_what_to_install(settings, monkeypatch):
    import sys

    from realtime.plugins import PluginError

    monkeypatch.setitem(sys.modules, "httpcore", None)
    with pytest.raises(posting.NotInstalled):
        posting.require_client()
    with pytest.raises(PluginError, match=r"pip install 'realtime-supervised\[webhooks\]'"):
        async with running(settings()):
            raise AssertionError("never reached")
