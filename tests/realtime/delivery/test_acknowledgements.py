"""Who owes an acknowledgement of what: the books balance whatever happens."""

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from realtime.delivery.acknowledgements import Acknowledgements, TooManyOutstanding

LIMIT = 8
CONNECTIONS = tuple(f"connection {number}" for number in range(5))  # whatever can be told apart


class Books(RuleBasedStateMachine):
    """Against a model that is a set of pairs."""

    def __init__(self):
        super().__init__()
        self.acks = Acknowledgements(LIMIT)
        self.owed = set()
        self.awaited = []
        self.answers = {}
        self.unexpected = 0

    @rule(connections=st.sets(st.sampled_from(CONNECTIONS)), every=st.booleans())
    def expect(self, connections, every):
        id = f"m{len(self.awaited)}"
        if len(self.owed) + len(connections) > LIMIT:
            with pytest.raises(TooManyOutstanding, match=f"{LIMIT} acknowledgements"):
                self.acks.expect(id, connections, every=every)
            return
        self.awaited.append(self.acks.expect(id, connections, every=every))
        self.owed |= {(each, id) for each in connections}
        self.answers[id] = 0

    @precondition(lambda self: self.awaited)
    @rule(connection=st.sampled_from(CONNECTIONS), number=st.integers(0, 99))
    def acknowledge(self, connection, number):
        id = self.awaited[number % len(self.awaited)].id
        owed = (connection, id) in self.owed
        assert self.acks.acknowledge(connection, id) == owed
        self.owed.discard((connection, id))
        self.answers[id] += owed
        self.unexpected += not owed

    @rule(connection=st.sampled_from(CONNECTIONS))
    def leave(self, connection):
        self.acks.forget(connection)
        self.owed = {pair for pair in self.owed if pair[0] != connection}

    @precondition(lambda self: self.awaited)
    @rule(number=st.integers(0, 99))
    def end(self, number):
        awaited = self.awaited[number % len(self.awaited)]
        self.acks.end(awaited)
        self.acks.end(awaited)
        self.owed = {pair for pair in self.owed if pair[1] != awaited.id}

    @invariant()
    def the_books_balance(self):
        assert self.acks.outstanding == len(self.owed)
        assert self.acks.unexpected == self.unexpected
        for awaited in self.awaited:
            assert awaited.acknowledged == self.answers[awaited.id]
            assert {(each, awaited.id) for each in awaited.owing} == {p for p in self.owed if p[1] == awaited.id}


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=30)


async def test_all_are_waited_for_or_the_first():
    acks = Acknowledgements()
    every = acks.expect("a", ["one", "two"], every=True)
    first = acks.expect("b", ["one", "two"], every=False)
    for id in "ab":
        acks.acknowledge("one", id)
    assert (every.over.is_set(), first.over.is_set()) == (False, True)
    acks.forget("two")
    assert every.over.is_set()
    with trio.fail_after(1):
        await every.over.wait()


async def test_who_waits_for_nobody_waits_for_nothing():
    assert Acknowledgements().expect("a", [], every=True).over.is_set()


async def test_the_last_one_s_leaving_ends_the_wait_without_an_answer():
    acks = Acknowledgements()
    awaited = acks.expect("a", ["one"], every=False)
    acks.forget("one")
    assert awaited.over.is_set()
    assert awaited.acknowledged == 0
