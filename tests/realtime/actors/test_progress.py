import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from realtime.actors.progress import PER_SECOND, ProgressEmitter, TaskEnded
from realtime.fields import BadField
from realtime.policy.progress import MAX_TEXT, Progress


@pytest.fixture
async def told(nursery):
    """An emitter that runs, with what it has published and when, since the test's beginning."""
    began = trio.current_time()
    published = []
    emitter = ProgressEmitter("t", lambda state: published.append((trio.current_time() - began, state)))
    nursery.start_soon(emitter.run)
    emitter.published = published
    return emitter


async def test_an_update_is_told_at_once(told, autojump_clock):
    told.update("hashing", 50, "half of it", files=3)
    await trio.testing.wait_all_tasks_blocked()
    assert told.published == [(0, Progress("hashing", 50, "half of it", {"files": 3}))]


async def test_what_is_left_out_stays_as_it_was(told, autojump_clock):
    told.update("hashing", 10, "begun", files=1, bytes=5)
    told.update(percent=20, files=2)
    assert told.progress == Progress("hashing", 20, "begun", {"files": 2, "bytes": 5})


async def test_many_updates_are_few_messages_and_the_last_one_is_among_them(told, autojump_clock):
    for number in range(1001):
        told.update(percent=number / 10)
        await trio.sleep(0.001)
    await trio.sleep(1)
    assert len(told.published) <= PER_SECOND + 2
    assert told.published[-1][1].percent == 100
    gaps = [after - before for (before, _), (after, _) in zip(told.published, told.published[1:], strict=False)]
    assert min(gaps) >= 1 / PER_SECOND - 1e-9


async def test_the_last_state_is_told_at_the_end_and_only_once(told, autojump_clock):
    told.update(percent=1)
    await trio.testing.wait_all_tasks_blocked()
    told.update(percent=2)  # too soon after the other
    told.flush()
    told.flush()
    assert [state.percent for _, state in told.published] == [1, 2]


async def test_a_thread_may_update(nursery):
    told = []
    emitter = ProgressEmitter("t", told.append)
    nursery.start_soon(emitter.run)

    def work():
        for percent in range(101):
            emitter.update(percent=percent)

    await trio.to_thread.run_sync(work)
    await trio.testing.wait_all_tasks_blocked()
    emitter.flush()
    assert told[-1].percent == 100


async def test_after_the_end_whoever_still_works_is_told_so(told):
    told.end()
    with pytest.raises(TaskEnded, match="task t is over"):
        told.update(percent=1)
    with pytest.raises(TaskEnded):
        await trio.to_thread.run_sync(told.update)


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), float("inf")])
async def test_a_percentage_that_is_none_is_refused_and_changes_nothing(told, percent):
    with pytest.raises(ValueError, match="percent must be a number from 0 to 100"):
        told.update("other", percent)
    assert told.progress == Progress()


async def test_what_has_no_json_form_is_refused_and_changes_nothing(told):
    with pytest.raises((BadField, TypeError)):
        told.update("other", this=object())
    with pytest.raises(BadField, match="extra must be at most"):
        told.update("other", this="x" * 300_000)
    assert told.progress == Progress()


@given(st.text(), st.floats(0, 100), st.text())
def test_texts_have_a_bound(stage, percent, message):
    state = Progress().updated(stage=stage, percent=percent, message=message, extra={})
    assert len(state.stage) <= MAX_TEXT
    assert stage.startswith(state.stage)
    assert len(state.message) <= MAX_TEXT
    assert message.startswith(state.message)
    assert abs(state.percent - percent) <= 0.005
