"""Which children a failure concerns.

* one_for_one: the failed child;
* rest_for_one: it and those started after it;
* one_for_all: all of them.

Source: ``supervisor:restart/3`` in Erlang/OTP.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..spec import Strategy


def restart_group(strategy: Strategy, ids: Sequence[str], failed: str) -> Sequence[str]:
    """The ids to start again after *failed* ended, in start order; *ids* are all children in start order."""
    if strategy == "one_for_one":
        return (failed,)
    if strategy == "one_for_all":
        return tuple(ids)
    return tuple(ids[ids.index(failed) :])
