import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.trace import TraceContext, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def hexadecimal(length):
    return st.text("0123456789abcdef", min_size=length, max_size=length)


@given(hexadecimal(32).filter(lambda t: t.strip("0")), hexadecimal(16).filter(lambda t: t.strip("0")), hexadecimal(2))
def test_what_is_of_the_form_is_read(trace, span, flags):
    assert trace_context([f"00-{trace}-{span}-{flags}"]) == TraceContext(trace, span)


def test_a_later_version_may_say_more():
    assert trace_context([f"01-{TRACE}-{SPAN}-01-what-ever"]) == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0\u0661",
    ],
)
def test_what_is_not_is_no_trace(header):
    assert trace_context([header]) is None


def test_one_header_counts_and_two_do_not():
    header = f"00-{TRACE}-{SPAN}-01"
    assert trace_context([]) is None
    assert trace_context([header, header]) is None


@given(st.text())
def test_nothing_makes_it_fail(header):
    trace_context([header])
