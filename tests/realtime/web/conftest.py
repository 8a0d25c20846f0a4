import pytest

from ..in_process import running


@pytest.fixture
async def system():
    """A running system with the default settings and no actors; for virtual time a test asks for the clock itself."""
    async with running() as found:
        yield found
