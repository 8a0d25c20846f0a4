"""What autodoc needs to be told to show the docstrings and signatures of ``supervisors`` as they are meant."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import attrs
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.inspect import TypeAliasForwardRef

import supervisors

MADE_BY_THE_RUNTIME: Final = {
    f"supervisors.{name}"
    for name in (
        "ActorContext",
        "Deferred",
        "Monitor",
        "Program",
        "TaskHandle",
        "TaskMap",
        "Timer",
        "Tree",
        "testing.RunningTree",
    )
}
"""Classes that a user is given and never builds, so that their constructors are nobody's business."""

MEANT: Final = {
    "Callable[[...], ": "Callable[..., ",
    "<built-in method random of Random object>": "random.random",
    "_BrutalKill.BRUTAL_KILL": "BRUTAL_KILL",
    "mappingproxy({})": "{}",
}
"""What the values of some defaults and types look like, and what they are called."""

FOR_THE_RUNTIME: Final = re.compile(r"\b(by|for) the runtime\b", re.IGNORECASE)
"""What the docstring of a method says that is nobody else's business."""


def read_sections(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make reST of Google's ``Args:`` and ``Raises:``.

    Not by loading all of Napoleon, which takes a colon in the first sentence about a constant for the end of a type.
    """
    if what == "data":
        lines[:] = constant_docs(name.rpartition(".")[2], obj)
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines[:], Config(), app, what, name, obj, options).lines()


def constant_docs(name: str, value: object) -> list[str]:
    """What stands below the constant *name* in the module that it comes from; autodoc looks only where it is found."""
    for path, module in list(sys.modules.items()):
        if path.partition(".")[0] == "supervisors" and vars(module).get(name) is value:
            docs = ModuleAnalyzer.for_module(path).find_attr_docs()
            if ("", name) in docs:
                return docs["", name]
    return []


def tidy_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Show the defaults of attrs classes as one would write them."""
    if name in MADE_BY_THE_RUNTIME:
        return "", None
    if signature is None:
        return None
    for shown, meant in MEANT.items():
        signature = signature.replace(shown, meant)
    if returns is not None and hasattr(obj, "__wrapped__"):  # a generator made a context manager
        returns = returns.replace("~collections.abc.AsyncIterator[", "~contextlib.AbstractAsyncContextManager[")
        returns = returns.replace("~collections.abc.Iterator[", "~contextlib.AbstractContextManager[")
    if not isinstance(obj, type) or not attrs.has(obj):
        return signature, returns
    for field in attrs.fields(obj):
        if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            made = {dict: "{}", list: "[]"}.get(field.default.factory, f"{field.default.factory.__name__}()")
            signature = re.sub(rf"({field.name}: [^=]*= )(NOTHING|<factory>)", rf"\g<1>{made}", signature)
    return signature, returns


def leave_out(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what only the runtime uses."""
    return True if FOR_THE_RUNTIME.search(getattr(obj, "__doc__", None) or "") else None


def complete_names() -> None:
    """Let the annotations of attrs classes be evaluated.

    The ``__init__`` that attrs makes knows what its module knew at that moment: neither the class itself nor what
    comes after it, nor what is imported for type checkers only.
    """
    modules = [module for path, module in sys.modules.items() if path.partition(".")[0] == "supervisors"]
    everywhere = {name: value for module in modules for name, value in vars(module).items()}
    for made in (getattr(supervisors, name) for name in supervisors.__all__):
        if isinstance(made, type) and attrs.has(made):
            known = made.__init__.__globals__
            for name, value in {**everywhere, **vars(sys.modules[made.__module__])}.items():
                known.setdefault(name, value)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    complete_names()
    # Otherwise an alias within another type, as in list[Event], shows as the object that stands for it.
    TypeAliasForwardRef.__repr__ = lambda self: self.name  # type: ignore[method-assign]
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("autodoc-process-signature", tidy_signature)
    app.connect("autodoc-skip-member", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
