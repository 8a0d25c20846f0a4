"""The benchmark's own logic: what it makes of measurements, and what the load client makes of bytes and durations."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import needs
from tests.bench.build import program
from tests.bench.chart import chart
from tests.bench.contenders import CONTENDERS
from tests.bench.fanout import FLOORS
from tests.bench.figures import Goal, Runs, Spread, busiest_client, markdown, report, short
from tests.bench.goals import GOALS, IDLE, PEERS
from tests.bench.peers.commands import message, parse
from tests.bench.processes import BenchError
from tests.bench.profile import _package, _place
from tests.bench.profile import table as profile_table
from tests.bench.servers.raw import frame


def run(*options: str, data: bytes) -> str:
    """What the load client, which is built with gcc, makes of *data*."""
    needs.program("gcc", package="gcc")
    ran = subprocess.run([program("load"), *options], input=data, capture_output=True, timeout=20, check=True)
    return ran.stdout.decode("latin-1")


# --- statistics ------------------------------------------------------------------------------------------------------


def runs_of(**servers: list[float | None]) -> Runs:
    runs = Runs()
    for server, values in servers.items():
        for pair, value in enumerate(values):
            runs.add(server, "cost", pair, value)
    return runs


def goal(bound: float, than: str = "at most") -> Goal:
    return Goal("cost", ("ours", "cost"), bound, than, ("raw", "cost"))  # type: ignore[arg-type]


def test_a_ratio_is_taken_pair_by_pair() -> None:
    verdict = goal(1.5).judge(runs_of(ours=[2.0, 30.0, 4.0], raw=[1.0, 10.0, 4.0]))
    assert verdict is not None
    assert (verdict["median"], verdict["least"], verdict["most"], verdict["count"]) == (2.0, 1.0, 3.0, 3)
    assert verdict["met"] is False


def test_a_pair_of_which_one_side_failed_does_not_count() -> None:
    verdict = goal(1.0).judge(runs_of(ours=[2.0, None, 1.0], raw=[None, 1.0, 2.0]))
    assert verdict is not None
    assert (verdict["median"], verdict["count"], verdict["met"]) == (0.5, 1, True)


def test_at_least_turns_the_judgement_round() -> None:
    verdict = goal(0.75, "at least").judge(runs_of(ours=[3.0], raw=[4.0]))
    assert verdict is not None
    assert verdict["met"] is True


def test_what_was_not_measured_is_not_judged() -> None:
    assert goal(1.0).judge(runs_of(ours=[1.0])) is None
    assert goal(1.0).judge(runs_of(ours=[None], raw=[1.0])) is None


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=12))
def test_a_median_lies_between_the_least_and_the_most(values: list[float | None]) -> None:
    spread = Spread.over(values)
    assert (spread is None) == all(value is None for value in values)
    if spread is not None:
        assert spread.least <= spread.median <= spread.most
        assert spread.count == sum(value is not None for value in values)


def test_each_goal_is_about_servers_that_are_measured() -> None:
    sides = [side for each in GOALS for side in (each.figure, each.against) if side is not None]
    assert {server for server, _ in sides} <= set(CONTENDERS)
    assert {*PEERS, *FLOORS} <= set(CONTENDERS)


# --- the report ------------------------------------------------------------------------------------------------------


def test_a_report_says_what_stalled_and_what_failed() -> None:
    runs = runs_of(ours=[1.0, 2.0], raw=[None])
    runs.fail("raw", "fan-out", "it did not start")
    runs.add("ours", "share of a core, client, 10 clients: 1 B", 0, 0.25)
    data = json.loads(json.dumps(report(runs, [goal(1.0)], {"machine": "this one"})))
    text = markdown(data)
    assert "| ours | 1.5 (1 to 2) |" in text
    assert "| raw | stalls |" in text
    assert "- raw, fan-out: it did not start" in text
    assert "- machine: this one" in text
    assert "| share" not in text
    assert busiest_client(data) == "at most 0.25 of its core (ours, 10 clients: 1 B)"


@pytest.mark.parametrize(("value", "text"), [(0.123456, "0.123"), (12.345, "12.3"), (123456.7, "123,457"), (0.0, "0")])
def test_a_figure_has_three_digits(value: float, text: str) -> None:
    assert short(value) == text


def test_a_chart_is_well_formed_and_shows_each_server() -> None:
    runs = Runs()
    for server, size in (("ours", 9.0), ("a & b", 7.0), ("far off", 1000.0)):
        runs.add(server, IDLE, 0, size)
    picture = ET.fromstring(chart(report(runs, [], {})))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"ours", "a & b", "far off", "1,000 (cut)"} <= set(texts)


def test_a_chart_of_nothing_is_empty() -> None:
    assert ET.fromstring(chart(report(Runs(), [], {}))).get("viewBox") == "0 0 840 1"


def test_a_profile_leaves_idleness_out_and_quotes_our_own_lines() -> None:
    stacks = [
        "main;run;get_events (trio/_core/_io_epoll.py:243) 900",
        "main;run;unrolled_run (trio/_core/_run.py:2827) 30",
        "main;other;raw (tests/bench/servers/raw.py:1) 70",
    ]
    lines = profile_table("work", stacks, _place).splitlines()
    assert lines[2].startswith('| `"""The floor in Python')
    assert lines[2].endswith("| 70.0% |")
    assert lines[3] == "| `unrolled_run` (trio/_core/_run.py) | 30.0% |"
    assert "| tests/bench | 70.0% |" in profile_table("work", stacks, _package)
    with pytest.raises(BenchError, match="never seen at work"):
        profile_table("work", stacks[:1], _place)


# --- what servers and client agree on --------------------------------------------------------------------------------


@given(st.integers(64, 70_000))
def test_a_message_is_json_of_the_size_that_was_asked_for(size: int) -> None:
    text = message(size)
    assert len(text) == size
    assert json.loads(text)["at"] > 0


def test_a_command_says_how_many_and_how_large() -> None:
    assert parse(b"16 4096") == (16, 4096)


# --- the load client -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 130, 65536])
def test_frames_are_found_wherever_the_stream_is_cut(chunk: int) -> None:
    payloads = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 127, b"e" * 128, b"f" * 4096, b"g" * 65535]
    stream = b"".join(map(frame, payloads)) + b"\x89\x02hi" + b"\x01\x01x" + b"\x88\x02\x0f\xa0"
    found = [line.split(" ")[:3] for line in run(f"--parse={chunk}", data=stream).splitlines()]
    texts = [["1", "1", str(len(payload))] for payload in payloads]
    assert found == [*texts, ["9", "1", "2"], ["1", "0", "1"], ["8", "1", "2"]]


def test_lengths_of_eight_bytes_are_understood() -> None:
    payload = b"x" * 70_000
    stream = b"\x82\x7f" + len(payload).to_bytes(8, "big") + payload + b"\x81\x02hi"
    assert run("--parse=1000", data=stream).splitlines() == [f"2 1 {len(payload)} xxxxxxxx", "1 1 2 hi"]


def test_a_masked_frame_is_none_of_a_server() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run("--parse=100", data=b"\x81\x82\0\0\0\0hi")


@pytest.mark.parametrize(
    "values",
    [[0], [5, 5, 5], [*range(1, 1001)], [10**3] * 98 + [10**9] * 2, [2**40 + n * 12345678 for n in range(500)]],
)
def test_percentiles_are_right_within_one_bucket(values: list[int]) -> None:
    ordered = sorted(values)
    exact = [ordered[-(-len(values) * percent // 100) - 1] for percent in (50, 99)]
    told = [int(word) for word in run("--percentiles", data=" ".join(map(str, values)).encode()).split()]
    assert told[2] == ordered[-1]
    for value, right in zip(told[:2], exact, strict=True):
        assert right <= value <= right * (1 + 1 / 64)
