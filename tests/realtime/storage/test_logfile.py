"""A log that was cut off anywhere goes on with the first event that has no line."""

import os
import re
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.policy.loglines import JsonLines, TextLines
from realtime.policy.pages import Cursor
from realtime.policy.rotation import Rotation, rotated
from realtime.storage.logfile import LogFile, LogInUse, NotOurLog

FORMS = [JsonLines(), TextLines()]
LARGE = Rotation(max_bytes=10**9, daily=False, keep=10**6)


def event(offset, *, day=1, size=0):
    return {
        "event_id": f"id{offset}",
        "type": "t",
        "timestamp": f"2026-01-{day:02}T00:00:00.000Z",
        "severity": "info",
        "source": None,
        "tags": [],
        "data": {"x": "x" * size},
    }, Cursor("e", offset)


def offsets(path, form):
    """What the log tells, from its oldest file to its newest."""
    names = [name for _, name in rotated(path.name, os.listdir(path.parent))]
    lines = b"".join(path.with_name(name).read_bytes() for name in [*names, path.name])
    return [form.mark(line).position.offset for line in lines.splitlines()]


@pytest.fixture(params=FORMS, ids=["json", "text"])
def form(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.log"


def opened(path, form, rotation=LARGE, **options):
    log = LogFile(path, form, rotation, **options)
    return log, log.open()


def test_a_new_log_has_no_position_and_goes_on_behind_its_last_line(path, form):
    log, position = opened(path, form)
    assert position is None
    log.write([event(1), event(2)])
    log.close()
    log, position = opened(path, form)
    assert position == Cursor("e", 2)
    log.write([event(3)])
    log.close()
    assert offsets(path, form) == [1, 2, 3]


@pytest.mark.parametrize("form", FORMS, ids=["json", "text"])
def test_cut_off_anywhere_it_has_each_event_once(form):
    """A process writes batch after batch and is killed in the middle of any; the next one goes on."""
    steps = st.lists(
        st.tuples(
            st.integers(0, 4),  # events in a batch
            st.integers(0, 200),  # the size of each
            st.integers(1, 3),  # the day
            st.none() | st.floats(0, 1),  # how much of what was written last survives a kill
        ),
        max_size=12,
    )

    @given(steps, st.integers(50, 1000), st.booleans(), st.sampled_from([b"", b"\0\0\0"]))
    @settings(max_examples=80, deadline=None)
    def check(steps, max_bytes, daily, torn):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "events.log")
            rotation = Rotation(max_bytes=max_bytes, daily=daily, keep=10**6)
            log, position = opened(path, form, rotation)
            written = 0
            for count, size, day, survives in steps:
                written = 0 if position is None else position.offset
                position = Cursor("e", written + count) if count else position
                before, rotations = log.size, log.rotations
                log.write([event(written + n + 1, day=day, size=size) for n in range(count)])
                if survives is not None:
                    log.close()
                    begin = before if log.rotations == rotations else 0
                    kept = begin + int((log.size - begin) * survives)
                    with open(path, "r+b") as file:
                        file.truncate(kept)
                        file.seek(0, os.SEEK_END)
                        file.write(torn)
                    log, position = opened(path, form, rotation)
            log.close()
            last = 0 if position is None else position.offset
            assert offsets(path, form) == list(range(1, last + 1))

    # What is cut off here, and how, does not depend on the disk, which would take most of the time.
    with mock.patch.object(os, "fsync"):
        check()


def test_killed_between_putting_a_file_away_and_the_next_line_it_goes_on(path, form):
    log, _ = opened(path, form, Rotation(max_bytes=1, daily=False))
    log.write([event(1), event(2)])
    log.close()
    path.write_bytes(b"")
    log, position = opened(path, form)
    log.close()
    assert position == Cursor("e", 1)
    path.unlink()
    log, position = opened(path, form)
    log.close()
    assert position == Cursor("e", 1)


def test_each_day_has_its_file_and_the_oldest_go(path, form):
    rotation = Rotation(keep=2)
    log, _ = opened(path, form, rotation)
    log.write([event(day, day=day) for day in range(1, 6)])
    assert log.rotations == 4
    names = sorted(name for name in os.listdir(path.parent) if re.search("2026", name))
    assert names == ["events.2026-01-03.000003.log", "events.2026-01-04.000004.log"]
    assert offsets(path, form) == [3, 4, 5]
    log.close()


def test_the_size_of_a_file_is_bounded_over_restarts_too(path, form):
    length = len(form.line(*event(1)))
    rotation = Rotation(max_bytes=3 * length, daily=False, keep=100)
    for offset in range(1, 9):
        log, _ = opened(path, form, rotation)
        log.write([event(offset)])
        log.close()
    sizes = [(path.parent / name).stat().st_size // length for name in os.listdir(path.parent) if ".lock" not in name]
    assert sorted(sizes) == [2, 3, 3]


@pytest.mark.parametrize("content", [b"hello\n", b"hello", b"{}\n", b'{"a":1}\n{"epoch":"'])
def test_a_file_of_something_else_is_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(NotOurLog, match="move it away"):
        opened(path, JsonLines())
    assert path.read_bytes() == content
    path.unlink()
    opened(path, JsonLines())[0].close()  # nothing is left locked


def test_two_writers_of_one_log_are_refused(path, form):
    log, _ = opened(path, form)
    with pytest.raises(LogInUse, match=f"process {os.getpid()} writes"):
        opened(path, form)
    log.close()
    log.close()
    opened(path, form)[0].close()


def test_a_file_that_somebody_moved_is_begun_anew(path, form):
    log, _ = opened(path, form)
    log.write([event(1)])
    path.rename(path.with_name("taken"))
    log.write([event(2)])
    path.unlink()
    log.write([event(3)])
    log.close()
    assert offsets(path, form) == [3]


@pytest.mark.parametrize("sync", [True, False])
def test_only_with_sync_each_batch_waits_for_the_disk(path, form, sync, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    log, _ = opened(path, form, Rotation(max_bytes=1, daily=False), sync=sync)
    log.write([event(1)])
    assert len(synced) == sync
    log.write([event(2)])  # puts the first away: the file, and the folder that has its name
    assert len(synced) == 2 + 2 * sync
    log.close()


def test_a_write_that_fails_in_the_middle_is_mended(path, form, monkeypatch):
    log, _ = opened(path, form)
    log.write([event(1)])
    real = os.write

    def full(fd, data):
        real(fd, bytes(data[: len(data) // 2]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("realtime.storage.logfile.os.write", full)
    with pytest.raises(OSError, match="No space"):
        log.write([event(2)])
    log.close()
    monkeypatch.undo()
    log, position = opened(path, form)
    assert position == Cursor("e", 1)
    log.write([event(2)])
    log.close()
    assert offsets(path, form) == [1, 2]
