"""Which requests may come in: by the name they call us, and by the page that sent them.

* ``Host`` must be one of the allowed names, else 400: a page of a stranger's could otherwise reach us under a name of
  its own that resolves to us ("DNS rebinding").
* A request with an ``Origin`` comes from a browser: it must be our own page or an allowed one, else 403.  ``null``
  stands for a page that hides where it comes from, and is refused.
* No ``Origin`` is fine: that is not a browser.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

# RFC 9112 section 3.2: uri-host [":" port], without user and path.  What is no such thing must not be read as one:
# "localhost:1@elsewhere" calls us by no allowed name.
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::[0-9]{0,5})?")


def host_name(host: str) -> str | None:
    """The name in a ``Host`` header, in lower case, without port and brackets; None if it is no such header."""
    found = _HOST.fullmatch(host.lower())
    return None if found is None else found[1] or found[2]


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
    return origin == f"{scheme}://{host.lower()}" or origin in allowed_origins
