"""Links to the names of Python and Trio that docstrings and signatures mention, without asking their servers.

Intersphinx would fetch an inventory of each at every build.  A name of Trio that is not in :data:`TRIO_PAGES` stays
unresolved, which is an error: add it with the page of Trio's reference that describes it.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any, Final, ParamSpec, TypeVar, TypeVarTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

TRIO: Final = "https://trio.readthedocs.io/en/stable/reference-{page}.html#{name}"
OUTCOME: Final = "https://outcome.readthedocs.io/en/latest/api.html#{name}"
PYTHON: Final = "https://docs.python.org/3/library/{page}.html#{name}"

TRIO_PAGES: Final = {
    "core": (
        "trio.BusyResourceError",
        "trio.CancelScope",
        "trio.Cancelled",
        "trio.ClosedResourceError",
        "trio.EndOfChannel",
        "trio.Event",
        "trio.Nursery",
        "trio.Nursery.start",
        "trio.TaskStatus",
        "trio.TooSlowError",
        "trio.WouldBlock",
        "trio.current_time",
        "trio.fail_after",
        "trio.open_nursery",
        "trio.run",
        "trio.sleep",
    ),
    "io": (
        "trio.BrokenResourceError",
        "trio.Process",
        "trio.abc.ReceiveStream",
        "trio.open_signal_receiver",
        "trio.run_process",
    ),
    "lowlevel": (
        "trio.lowlevel.checkpoint",
        "trio.lowlevel.wait_task_rescheduled",
    ),
    "testing": ("trio.testing.MockClock",),
}
PYTHON_PAGES: Final = {
    "collections": "collections",
    "collections.abc": "collections.abc",
    "contextlib": "contextlib",
    "logging": "logging",
    "os": "os",
    "re": "re",
    "subprocess": "subprocess",
    "sys": "sys",
    "typing": "typing",
}

PAGE_OF: Final = {name: page for page, names in TRIO_PAGES.items() for name in names}


def address_of(name: str) -> str | None:
    """Where *name* is described; None if it is neither Python's nor a known one of Trio."""
    if name in PAGE_OF:
        return TRIO.format(page=PAGE_OF[name], name=name)
    if hasattr(builtins, name):
        page = "exceptions" if name.endswith(("Error", "Exception", "Exit", "Interrupt", "Group")) else "stdtypes"
        return PYTHON.format(page=page, name=name)
    module = name.rpartition(".")[0]
    if module == "outcome":
        return OUTCOME.format(name=name)
    if module in PYTHON_PAGES:
        return PYTHON.format(page=PYTHON_PAGES[module], name=name)
    return None


def is_type_variable(name: str) -> bool:
    """Whether *name* is a type variable of the package: nothing to link to, and nothing wrong with it."""
    last = name.rpartition(".")[2]
    ours = [module for path, module in sys.modules.items() if path.partition(".")[0] == "supervisors"]
    return any(isinstance(getattr(module, last, None), TypeVar | ParamSpec | TypeVarTuple) for module in ours)


def resolve(app: Sphinx, env: Any, node: Any, contnode: Any) -> nodes.Node | None:
    """Called by Sphinx for each name that these pages do not describe."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"]
    if is_type_variable(name):
        return contnode  # type: ignore[no-any-return]
    ours = env.get_domain("py").objects.get(f"supervisors.{name}")
    if ours is not None:  # a docstring of supervisors.testing, or of a module within, may leave out the package
        return make_refnode(app.builder, node["refdoc"], ours.docname, ours.node_id, contnode)
    address = address_of(name)
    return None if address is None else nodes.reference("", "", contnode, internal=False, refuri=address)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
