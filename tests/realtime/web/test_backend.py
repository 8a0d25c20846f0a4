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
