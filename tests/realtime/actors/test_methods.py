"""Methods that clients call: what they are given, what is answered, and what bounds them."""

import json

import pytest
import trio
from structlog.testing import capture_logs

from realtime.actors.methods import MAX_CALLS, Caller, CallRefused, Methods, method
from realtime.delivery.hub import Hub
from realtime.messages import BadMessage, Call, parse_client_message
from realtime.policy.access import ANONYMOUS

from .sessions import Sessions, heard, settings_of, settle


@method("add")
async def add(caller, a: int, *, b: int = 1):
    await trio.lowlevel.checkpoint()
    return {"sum": a + b}


@method("whoami")
async def whoami(caller: Caller):
    assert caller.principal is ANONYMOUS
    return [caller.session, caller.connection_id, caller.address]


@method("slow", timeout=3)
async def slow(caller, seconds: float = 100.0):
    await trio.sleep(seconds)
    return seconds


@method("broken")
async def broken(caller):
    raise KeyError("the password is swordfish")


@method("odd")
async def odd(caller):
    return object()


@method("picky")
async def picky(caller):
    raise CallRefused("sold_out", "there is nothing left")


@method("unwritable")
async def unwritable(caller):
    raise CallRefused("sold_out", "there is no \udcff")


ALL = (add, whoami, slow, broken, odd, picky, unwritable)


class World(Sessions):
    def __init__(self, nursery):
        hub = Hub(settings_of)
        hub.declare("session/*")
        super().__init__(hub, nursery)
        self.methods = Methods()
        for each in ALL:
            self.methods.register(each)

    def client(self):
        """A connection whose messages are calls."""
        connection = None

        def handle(text):
            message = parse_client_message(text)
            assert isinstance(message, Call)
            self.methods.begin(connection, message)

        connection = self.join("s1", handler=handle)
        return connection


@pytest.fixture
def world(nursery):
    return World(nursery)


def call(connection, id, name, **params):
    connection.wire.peer_sends(f'{{"type":"call","id":"{id}","method":"{name}","params":{json.dumps(params)}}}')


async def answers(connection):
    await settle()
    return heard(connection)


async def answer(connection):
    [only] = await answers(connection)
    return only


async def test_a_call_is_answered_with_its_id(world):
    """Contract 3: ``call`` gives ``result``."""
    client = world.client()
    call(client, "c1", "add", a=2, b=3)
    assert await answer(client) == {"type": "result", "id": "c1", "data": {"sum": 5}}


async def test_a_method_knows_who_calls(world):
    client = world.client()
    call(client, "c1", "whoami")
    assert (await answer(client))["data"] == ["s1", "c1", "192.0.2.1"]


async def test_answers_come_as_they_are_ready_and_the_socket_is_read_meanwhile(world, autojump_clock):
    client = world.client()
    call(client, "long", "slow", seconds=2)
    call(client, "short", "slow", seconds=1)
    call(client, "now", "add", a=1)
    await trio.sleep(2.5)
    assert [message["id"] for message in heard(client)] == ["now", "short", "long"]


@pytest.mark.parametrize(
    ("name", "params", "code", "said"),
    [
        ("ad", {}, "unknown_method", "method 'ad' is not known; the nearest is add"),
        ("add", {}, "bad_params", "params.a is missing; add needs it"),
        ("add", {"a": "1"}, "bad_params", "params.a: expected `int`, got `str`"),
        ("add", {"a": 1, "c": 1}, "bad_params", "params.c is not known to add"),
        ("picky", {}, "sold_out", "there is nothing left"),
        ("broken", {}, "call_failed", "broken failed; it has been logged"),
        ("odd", {}, "call_failed", "odd failed; it has been logged"),
        ("unwritable", {}, "call_failed", "unwritable failed; it has been logged"),
    ],
)
async def test_what_cannot_be_answered_is_an_error_with_the_id(world, name, params, code, said):
    client = world.client()
    with capture_logs() as logs:
        call(client, "c1", name, **params)
        error = await answer(client)
    assert error.pop("message").startswith(said)
    assert error == {"type": "error", "code": code, "id": "c1"}
    assert [entry["method"] for entry in logs if entry["event"] == "call_failed"] == [name] * (code == "call_failed")
    assert client.closed is None


async def test_a_failure_tells_the_client_nothing_of_its_inside(world):
    client = world.client()
    call(client, "c1", "broken")
    assert "swordfish" not in str(await answer(client))


async def test_a_call_has_a_deadline(world, autojump_clock):
    client = world.client()
    call(client, "c1", "slow")
    await trio.sleep(2.9)
    assert heard(client) == []
    await trio.sleep(0.2)
    [error] = heard(client)
    assert (error["code"], error["message"], error["id"]) == ("call_timeout", "slow took longer than 3 s", "c1")


async def test_calls_of_a_connection_are_bounded_and_those_of_others_do_not_count(world, autojump_clock):
    client, other = world.client(), world.client()
    for number in range(MAX_CALLS + 2):
        call(client, f"c{number}", "slow", seconds=1)
    call(other, "o", "add", a=1)
    await settle()
    refused = heard(client)
    assert [(error["code"], error["id"]) for error in refused] == [("too_many_calls", "c8"), ("too_many_calls", "c9")]
    assert [message["id"] for message in heard(other)] == ["o"]
    await trio.sleep(2)
    call(client, "again", "add", a=1)
    assert (await answers(client))[-1]["id"] == "again"


async def test_calls_end_with_their_connection(world, autojump_clock):
    client = world.client()
    call(client, "c1", "slow")
    await settle()
    assert world.methods.statistics().running == 1
    client.wire.peer_closes()
    await settle()
    assert world.methods.statistics().running == 0
    assert heard(client) == []


async def test_what_became_of_calls_is_counted(world, autojump_clock):
    client = world.client()
    for number, name in enumerate(("add", "slow", "broken", "picky", "nothing")):
        call(client, f"c{number}", name, **({"a": 1} if name == "add" else {}))
    await trio.sleep(5)
    figures = world.methods.statistics()
    assert (figures.running, figures.completed, figures.refused, figures.failed, figures.timed_out) == (0, 1, 2, 1, 1)


async def test_a_method_that_was_forgotten_is_unknown(world):
    client = world.client()
    world.methods.forget("add")
    world.methods.forget("never there")
    call(client, "c1", "add", a=1)
    assert (await answer(client))["code"] == "unknown_method"
    assert "add" not in world.methods.methods


def test_a_name_is_taken_once():
    methods = Methods()
    methods.register(add)
    methods.register(add)

    @method("add")
    async def another(caller):
        """Has the same name."""

    with pytest.raises(ValueError, match="there are two methods called 'add'"):
        methods.register(another)


def test_only_async_functions_that_take_a_caller_are_methods():
    def plain(caller):
        """Blocks."""

    async def alone():
        """Takes nobody."""

    with pytest.raises(ValueError, match=r"plain\(\) must be async"):
        method("x")(plain)
    with pytest.raises(ValueError, match=r"alone\(\) must take a Caller"):
        method("x")(alone)
    with pytest.raises(ValueError, match="timeout must be"):
        method("x", timeout=0)
    with pytest.raises(ValueError, match="name"):
        method("two words")(add.function)


async def test_a_method_can_still_be_called_as_a_function():
    assert await add(None, 1, b=4) == {"sum": 5}


def test_a_call_without_an_id_is_malformed():
    with pytest.raises(BadMessage, match="call: id is missing"):
        parse_client_message('{"type":"call","method":"add"}')
