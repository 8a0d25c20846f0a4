"""Each case in every way."""

from __future__ import annotations

import pytest

from .kit import WAYS, Way


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """To whom a case is told, and how."""
    way: Way = request.param
    return way
