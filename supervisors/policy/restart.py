"""Whether a child that ended by itself is started again, and whether its end ends its supervisor.

==========  ======  ========  ======  =======
restart     normal  shutdown  killed  crashed
==========  ======  ========  ======  =======
permanent   again   again     again   again
transient   no      no        again   again
temporary   no      no        no      no
==========  ======  ========  ======  =======

Source: ``supervisor:do_restart/3`` and ``do_auto_shutdown/2`` in Erlang/OTP.
"""

from __future__ import annotations

from ..exits import Exit
from ..spec import AutoShutdown, Restart


def should_restart(restart: Restart, exit: Exit) -> bool:
    """True when a child of this restart type is started again after *exit*."""
    return restart == "permanent" or (restart == "transient" and exit.failed)


def ends_supervisor(auto_shutdown: AutoShutdown, *, significant: bool, others_active: bool) -> bool:
    """True when a child that ended by itself, not to be restarted, takes its supervisor with it.

    *others_active*: another significant child runs or is about to be restarted.
    """
    if not significant or auto_shutdown == "never":
        return False
    return auto_shutdown == "any_significant" or not others_active
