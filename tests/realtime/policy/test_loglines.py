import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.checks import SEVERITIES
from realtime.policy.loglines import JsonLines, Mark, TextLines
from realtime.policy.pages import Cursor

LINE = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
WIRES = st.fixed_dictionaries(
    {
        "event_id": st.just("01J"),
        "type": st.from_regex(r"[A-Za-z0-9_.:-]{1,10}", fullmatch=True),
        "timestamp": st.just("2026-01-02T03:04:05.678Z"),
        "severity": st.sampled_from(SEVERITIES),
        "source": st.none() | LINE,
        "tags": st.lists(LINE, max_size=3),
        "data": st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.integers() | st.none(), max_size=3),
    }
)
POSITIONS = st.builds(Cursor, st.from_regex(r"[0-9a-f]{12}", fullmatch=True), st.integers(0, 2**63 - 1))


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_each_event_is_one_line_that_says_its_position(form):
    @given(WIRES, POSITIONS, st.data())
    def check(wire, position, data):
        line = form.line(wire, position)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        line.decode()
        assert form.mark(line[:-1]) == Mark(position, "2026-01-02")
        # However short it is cut, it is known as a beginning of ours.
        assert form.begins(line[: data.draw(st.integers(0, len(line) - 1))])

    check()


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[1]", b"null", b"hello", b"\xff", b'{"epoch":"a","offset":"b"}', b"[" * 9999]
)
@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_other_lines_are_not_ours(form, line):
    assert form.mark(line) is None


@pytest.mark.parametrize(
    ("form", "piece"), [(JsonLines(), b"{ "), (JsonLines(), b"x"), (TextLines(), b"hello"), (TextLines(), b"\0")]
)
def test_other_beginnings_are_not_ours(form, piece):
    assert not form.begins(piece)


def test_the_text_for_people():
    wire = {
        "timestamp": "2026-01-02T03:04:05.678Z",
        "severity": "warning",
        "type": "door_opened",
        "source": "main hall",
        "tags": ["a", "b c"],
        "data": {"door": 7},
    }
    line = b'2026-01-02T03:04:05.678Z WARNING  door_opened main_hall a,b_c {"door":7} k3v9:41\n'
    assert TextLines().line(wire, Cursor("k3v9", 41)) == line
    bare = TextLines().line(wire | {"source": None, "tags": []}, Cursor("k3v9", 41))
    assert bare == b'2026-01-02T03:04:05.678Z WARNING  door_opened - - {"door":7} k3v9:41\n'
