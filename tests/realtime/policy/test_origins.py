import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.origins import host_allowed, host_name, origin_allowed

HOSTS = ("127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("localhost:8000", "localhost"),
        ("LocalHost:8000", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("my_host.example.org:443", "my_host.example.org"),
        ("localhost:", "localhost"),  # RFC 3986 allows an empty port
    ],
)
def test_a_host_header_is_a_name_with_or_without_a_port(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":8000",
        "localhost:8000@example.org",
        "localhost@example.org",
        "localhost/evil",
        "localhost:8000:9000",
        "localhost:http",
        "localhost:123456",
        "[::1]example.org",
        "[::1",
        "::1",
        "localhost, example.org",
        " localhost",
        "localhost\n",
    ],
)
def test_what_is_no_host_header_is_no_name_of_ours(header):
    assert host_name(header) is None
    assert not host_allowed(header, HOSTS)


@pytest.mark.parametrize("header", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_an_allowed_host_may_come_in_by_any_port(header):
    assert host_allowed(header, HOSTS)


@pytest.mark.parametrize("header", [None, "example.org", "localhost.example.org", "xlocalhost", "127.0.0.2"])
def test_another_name_is_refused_and_so_is_none(header):
    assert not host_allowed(header, HOSTS)


@given(st.text(max_size=40))
def test_whatever_stands_in_the_header_its_name_stood_there(header):
    name = host_name(header)
    assert name is None or (name and name in header.lower())


def allowed(origin, scheme="http", host="localhost:8000", allowed_origins=("https://example.org",)):
    return origin_allowed(origin, scheme=scheme, host=host, allowed_origins=allowed_origins)


def test_a_client_without_an_origin_is_no_browser_and_may_come_in():
    assert allowed(None)


def test_our_own_page_may_come_in_however_the_host_is_written():
    assert allowed("http://localhost:8000")
    assert allowed("http://localhost:8000", host="LOCALHOST:8000")
    assert allowed("https://localhost:8000", scheme="https")


def test_an_allowed_origin_may_come_in():
    assert allowed("https://example.org")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://localhost",
        "http://localhost:3000",
        "https://localhost:8000",
        "http://127.0.0.1:8000",
        "http://example.org",
        "https://example.org:444",
        "https://example.org.evil.org",
        "http://localhost:8000.evil.org",
        "localhost:8000",
    ],
)
def test_any_other_origin_is_refused(origin):
    assert not allowed(origin)


@given(st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_who_comes_in_is_ourselves_or_named(origin, others):
    ours = "http://localhost:8000"
    assert origin_allowed(origin, scheme="http", host="localhost:8000", allowed_origins=others) == (
        origin == ours or origin in others
    )
