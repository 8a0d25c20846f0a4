"""No row without a test."""

from __future__ import annotations

import pytest

from . import rows, test_http, test_logs, test_settings, test_topics, test_websocket

SECTIONS = {
    "settings": (rows.SETTINGS, test_settings),
    "topics": (rows.TOPICS, test_topics),
    "websocket": (rows.WEBSOCKET, test_websocket),
    "http": (rows.HTTP, test_http),
    "logs": (rows.LOGS, test_logs),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_has_a_test(section):
    wanted, module = SECTIONS[section]
    assert set(module.checks.found) == set(wanted)
    assert len(set(wanted)) == len(wanted)
    (test,) = (value for name, value in vars(module).items() if name.startswith("test_") and name.endswith("_row"))
    (mark,) = test.pytestmark
    assert {param.id for param in mark.args[1]} == set(wanted)


def test_what_does_not_exist_yet_has_a_reason_and_no_row():
    every = {row for wanted, _ in SECTIONS.values() for row in wanted}
    assert not every & set(rows.NOT_YET)
    assert all(rows.NOT_YET.values())
