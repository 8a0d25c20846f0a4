import sys
import types
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from realtime import messages
from realtime.actors import market
from realtime.actors.market import BadRecording, CsvReplay, FunctionProvider, SnapshotBroadcaster, read_recording
from realtime.plugins import PluginError
from realtime.settings import ActorSettings
from realtime.tree import build
from supervisors import ChildSpec, SupervisorSpec, open_tree

from ..in_process import make_settings
from .listeners import Listeners, a_hub

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "market" / "recording.csv"

SMALL = """time,symbol,price,volume
100,B,20,5
100,A,10,
102,A,11,7
104,B,21,6
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "recording.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture
async def listeners(nursery):
    hub = a_hub()
    await nursery.start(hub.run)
    hub.declare("market", retain=True)
    return Listeners(hub)


def prices(snapshot):
    return {quote.symbol: quote.price for quote in snapshot.quotes}


# --- a recording ---------------------------------------------------------------------------------------------------


async def test_a_recording_is_played_in_real_time(write, autojump_clock):
    replay = CsvReplay(write(SMALL))
    seen = []
    for _ in range(9):
        seen.append(prices(await replay.snapshot()))
        await trio.sleep(1)
    first, second, last = {"A": 10, "B": 20}, {"A": 11, "B": 20}, {"A": 11, "B": 21}
    # The last rows are shown for as long as those before them, then it begins again.
    assert seen == [first, first, second, second, last, last, first, first, second]


async def test_other_columns_of_numbers_come_along_and_empty_ones_do_not(write, autojump_clock):
    snapshot = await CsvReplay(write(SMALL)).snapshot()
    assert [(quote.symbol, quote.figures) for quote in snapshot.quotes] == [("A", {}), ("B", {"volume": 5})]


async def test_a_recording_of_one_moment_stays_as_it_is(write, autojump_clock):
    replay = CsvReplay(write("time,symbol,price\n5,A,1\n"))
    for _ in range(3):
        assert prices(await replay.snapshot()) == {"A": 1}
        await trio.sleep(10)


def test_times_may_be_dates(write):
    text = "symbol,price,time\nA,1,2026-01-01T00:00:00Z\nA,2,2026-01-01T01:00:01.5+01:00\n"
    assert [time for time, _ in read_recording(write(text))] == [0, 1.5]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no column time, symbol, price"),
        ("time,price\n", "has no column symbol"),
        ("time,symbol,price\n", "has no rows"),
        ("time,symbol,price\n1,A\n", "line 2: it has not as many columns"),
        ("time,symbol,price\n1,A,2,3\n", "line 2: it has not as many columns"),
        ("time,symbol,price\n1,A,1\nsoon,A,1\n", "line 3, column time: 'soon' is neither seconds nor ISO 8601"),
        ("time,symbol,price\n2,A,1\n1,A,1\n", "line 3, column time: it goes back"),
        ("time,symbol,price\n1,,1\n", "line 2, column symbol: it is empty"),
        ("time,symbol,price\n1,A,\n", "line 2, column price: it is empty"),
        ("time,symbol,price\n1,A,dear\n", "line 2, column price: 'dear' is no number"),
        ("time,symbol,price\n1,A,nan\n", "line 2, column price: 'nan' is no number"),
        ('time,symbol,price\n1,"A"x,1\n', "expected after"),
    ],
)
def test_a_bad_recording_is_refused_by_line_and_column(write, text, error):
    with pytest.raises(BadRecording, match=error):
        read_recording(write(text))


def test_a_recording_has_a_bound(write, monkeypatch):
    monkeypatch.setattr(market, "MAX_ROWS", 3)
    with pytest.raises(BadRecording, match="line 5: a recording has at most 3 rows"):
        read_recording(write(SMALL))


# --- a function ----------------------------------------------------------------------------------------------------


async def test_a_function_may_be_plain_or_async():
    async def gently():
        return 2

    assert await FunctionProvider(lambda: 1).snapshot() == 1
    assert await FunctionProvider(gently).snapshot() == 2


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("no_colon", "call must be"),
        (":name", "call must be"),
        ("sys:no_such_thing", "is no function"),
        ("sys:path", "is no function"),
    ],
)
def test_a_function_that_is_none_is_refused(name, error):
    with pytest.raises(ValueError, match=error):
        FunctionProvider.named(name)


# --- the broadcaster -----------------------------------------------------------------------------------------------


class Counted:
    """A provider that counts how often it is asked, and a snapshot that counts how often it is encoded."""

    def __init__(self):
        self.asked = self.encoded = 0

    async def snapshot(self):
        self.asked += 1
        return {"asked": self.asked}


async def test_nothing_is_asked_or_encoded_while_nobody_listens(listeners, monkeypatch, autojump_clock):
    encoded = []
    published = messages.published
    monkeypatch.setattr(messages, "published", lambda *args: encoded.append(args) or published(*args))
    provider = Counted()
    broadcaster = SnapshotBroadcaster(listeners.hub, provider, topic="market", interval=1.0)
    async with open_tree(SupervisorSpec([ChildSpec("market", broadcaster.run)])):
        await trio.sleep(60)
        assert (provider.asked, encoded) == (0, [])
        with listeners.one("market") as one, listeners.one("market") as other:
            for number in (1, 2):
                await trio.testing.wait_all_tasks_blocked()
                assert one()[-1] == other()[-1] == ("snapshot", {"asked": number})
                await trio.sleep(1 if number == 1 else 0.5)
        assert len(encoded) == 2  # once each, whoever listens


async def test_a_snapshot_that_did_not_change_is_not_sent_again(listeners, autojump_clock):
    @attrs.frozen
    class Same:
        price: int = 1

    async def same():
        return Same()

    broadcaster = SnapshotBroadcaster(listeners.hub, FunctionProvider(same), topic="market", interval=1.0)
    async with open_tree(SupervisorSpec([ChildSpec("market", broadcaster.run)])):
        with listeners.one("market") as heard:
            await trio.sleep(10)
            assert heard() == [("snapshot", {"price": 1})]


async def test_the_example_s_recording_is_one(autojump_clock):
    snapshot = await CsvReplay(EXAMPLE).snapshot()
    assert len(snapshot.quotes) == 5


# --- the module ----------------------------------------------------------------------------------------------------


def load(**options):
    settings = make_settings(actors={"market": ActorSettings(use="realtime.actors.market", options=options)})
    return build(settings).actors


def test_a_recording_is_looked_for_beside_the_settings(tmp_path):
    settings = attrs.evolve(
        make_settings(actors={"market": ActorSettings(use="realtime.actors.market", options={"replay": "a.csv"})}),
        folder=tmp_path,
    )
    (spec,) = build(settings).actors
    assert spec.start.__self__._provider._path == tmp_path / "a.csv"


def test_a_function_is_named_by_its_module(monkeypatch):
    module = types.ModuleType("prices_of_mine")
    module.now = dict
    monkeypatch.setitem(sys.modules, "prices_of_mine", module)
    assert load(call="prices_of_mine:now", interval=0.5)[0].start.__self__.interval == 0.5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "one of the options replay"),
        ({"replay": "a.csv", "call": "a:b"}, "one of the options replay"),
        ({"call": "no_such_module_here:f"}, "No module named"),
        ({"replay": 7}, "option 'replay'"),
    ],
)
def test_options_that_cannot_be_are_refused_at_start(options, error):
    with pytest.raises(PluginError, match=error):
        load(**options)
