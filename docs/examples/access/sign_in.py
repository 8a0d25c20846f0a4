"""Who has signed in at the site next door is known here by its session's cookie."""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from realtime.policy.access import Principal

SESSIONS = {"5f0c2d77": ("cleo", {"editors"})}  # in earnest: the site's own store, asked without blocking


async def principal(headers: Mapping[str, str]) -> Principal | None:
    """Whose request it is; None for nobody that is known here. The names of *headers* are in lower case."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get("session")
    except CookieError:
        return None
    if cookie is None or cookie.value not in SESSIONS:
        return None
    name, scopes = SESSIONS[cookie.value]
    return Principal(name, scopes)
