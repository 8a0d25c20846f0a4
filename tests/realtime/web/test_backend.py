import pytest

from realtime.tree import build
from realtime.web.app import create_app
from realtime.web.backend import backend

from ..in_process import make_settings


@pytest.fixture
def made():
    return build(make_settings()).backend


async def test_routes_find_the_backend_of_their_application(made):
    app, other = create_app(made), create_app(build(make_settings()).backend)
    async with app.app_context():
        assert backend() is made
    async with other.app_context():
        assert backend() is not made


def test_without_a_token_nobody_is_an_operator(made):
    assert not made.is_admin("Bearer ")
    assert not made.is_admin(None)


@pytest.mark.parametrize(
    ("header", "admin"),
    [
        ("Bearer secret", True),
        ("bearer  secret ", True),
        ("Bearer Secret", False),
        ("Bearer", False),
        ("Basic secret", False),
        ("secret", False),
        ("Bearer secre\u00e9", False),
        (None, False),
    ],
)
def test_the_token_makes_an_operator(made, header, admin):
    made.admin_token = "secret"
    assert made.is_admin(header) == admin


def test_the_token_does_not_show(made):
    made.admin_token = "secret"
    assert "secret" not in repr(made)
