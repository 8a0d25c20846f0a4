"""Which requests may come in: by the name they call us, and by the page that sent them.

* ``Host`` must be one of the allowed names, else 400: a page of a stranger's could otherwise reach us under a name of
  its own that resolves to us ("DNS rebinding").
* A request with an ``Origin`` comes from a browser: it must be our own page or an allowed one, else 403.  ``null``
  stands for a page that hides where it comes from, and is refused.
* No ``Origin`` is fine: that is not a browser.
"""

from __future__ import annotations

from collections.abc import Collection


def host_name(host: str) -> str:
    """The name in a ``Host`` header, in lower case, without port and brackets."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if ":" in name else name


def host_allowed(host: str | None, allowed_hosts: Collection[str]) -> bool:
    """Whether a request that calls us *host* is for us."""
    return host is not None and host_name(host) in allowed_hosts


def origin_allowed(origin: str | None, *, scheme: str, host: str, allowed_origins: Collection[str]) -> bool:
    """Whether a request sent by a page of *origin* may come in.

    Args:
      scheme: that of the request, ``http`` or ``https``.
      host: the request's ``Host`` header.
    """
    if origin is None:
        return True
    return origin == f"{scheme}://{host.strip().lower()}" or origin in allowed_origins
