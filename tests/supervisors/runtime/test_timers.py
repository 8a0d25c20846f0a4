import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from supervisors.runtime.actor import Timer, Timers
from supervisors.runtime.timers import TIDY_FROM, Agenda, Entry


class AgendaMachine(RuleBasedStateMachine):
    """An agenda does what a sorted list does."""

    entries: Bundle[tuple[Entry[int], int]] = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.agenda: Agenda[int] = Agenda()
        self.model: list[tuple[float, int]] = []
        self.count = 0
        self.now = 0.0

    @rule(target=entries, delay=st.integers(min_value=0, max_value=10))
    def add(self, delay: int) -> tuple[Entry[int], int]:
        self.count += 1
        self.model.append((self.now + delay, self.count))
        return self.agenda.add(self.now + delay, self.count), self.count

    @rule(which=consumes(entries))
    def cancel(self, which: tuple[Entry[int], int]) -> None:
        entry, number = which
        entry.cancel()
        entry.cancel()
        self.model = [slot for slot in self.model if slot[1] != number]

    @rule(seconds=st.integers(min_value=0, max_value=5))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        due = sorted(slot for slot in self.model if slot[0] <= self.now)
        handed_out = []
        while (item := self.agenda.pop_due(self.now)) is not None:
            handed_out.append(item)
        assert handed_out == [number for _, number in due]
        self.model = [slot for slot in self.model if slot not in due]

    @rule()
    def clear(self) -> None:
        self.agenda.clear()
        self.model.clear()

    @invariant()
    def agrees(self) -> None:
        assert len(self.agenda) == len(self.model)
        assert self.agenda.next_due() == min((due for due, _ in self.model), default=math.inf)


TestAgendaMachine = AgendaMachine.TestCase


def test_what_is_taken_back_does_not_stay_behind() -> None:
    agenda: Agenda[int] = Agenda()
    keep = agenda.add(1e9, 1)
    for _ in range(10_000):
        agenda.add(1e6, 2).cancel()
    assert len(agenda._heap) <= 2 * TIDY_FROM + 2
    assert agenda.next_due() == keep.due


def test_an_entry_taken_back_lets_go_of_what_it_held() -> None:
    agenda: Agenda[object] = Agenda()
    entry = agenda.add(1.0, object())
    entry.cancel()
    assert entry.item is None


intervals = st.floats(min_value=0.001, max_value=100.0)


@given(intervals, st.lists(st.floats(min_value=0.0, max_value=1000.0), max_size=30))
def test_a_repeated_timer_keeps_its_cadence_and_never_doubles(interval: float, waits: list[float]) -> None:
    """However late the actor comes to look, at most one tick is due, and the next lies on the grid."""
    timer, timers = Timer(1000.0, "tick", interval), Timers()
    timers.add(timer)
    now, delivered = 1000.0, 0
    for wait in waits:
        now += wait
        if timers.pop_due(now) is not None:
            delivered += 1
        assert timers.pop_due(now) is None
        assert timer.due > now
        assert timer.due - now <= interval * (1 + 1e-9)
        step = (timer.due - 1000.0) / interval
        assert math.isclose(step, round(step), abs_tol=1e-6)
    assert delivered + timer.late == round((timer.due - 1000.0) / interval) - 1


def test_ten_thousand_ticks_gather_no_error() -> None:
    timer, timers = Timer(0.0, "tick", 0.1), Timers()
    timers.add(timer)
    for _ in range(9_999):
        assert timers.pop_due(timer.due) is timer
    assert timer.due == 10_000 * 0.1
    assert timer.late == 0
