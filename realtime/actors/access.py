"""Who is there, and what they may: the one place that is asked, by HTTP, WebSockets and actor modules alike.

What to ask it: `Access.identify` for whose a request is, `Access.may` before anything is done for somebody,
`Access.within_rate` for each message or request, and `Access.admit` for what stays open, which has to end when its
principal's token expires or is taken back.
"""

from __future__ import annotations

import importlib
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import attrs
import structlog
import trio

from realtime.actors import credentials
from realtime.actors.credentials import Credentials, NotAuthenticated
from realtime.policy import bearer
from realtime.policy.access import ANONYMOUS, ANYONE, Action, Decision, Principal, decide, explain, rule_for
from realtime.policy.limits import Paces
from realtime.settings import Settings, SettingsError

LOOK_SECONDS: Final = 1.0
"""Between two looks at who has expired and at the files: so late may a token count that counts no more."""

HOOK_SECONDS: Final = 10.0
"""For ``auth.use`` to answer: as long as a handshake may take by default."""

Hook = Callable[[Mapping[str, str]], Awaitable[Principal | None]]
"""``auth.use``: from the headers of a request, by their names in lower case, to whose it is."""

logger = structlog.get_logger("realtime.access")


class Headers(Protocol):
    """What has the headers of a request: a mapping, or a framework's own class."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names and values."""


class SignInUnavailable(Exception):
    """``auth.use`` did not answer in time."""


@attrs.frozen
class AccessStatistics:
    """How many are signed in now, over how many open connections; and how many sign-ins were refused so far."""

    principals: int
    connections: int
    refused: int


class Access:
    """Recognises principals and decides what each may.

    Args:
      known: what the files hold now.
      hook: recognises those that no token does.
      now: seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        known: Credentials | None = None,
        hook: Hook | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._auth = settings.auth
        self._rules = settings.auth.rules
        self._restricted = any(rule.subscribe not in (None, ANYONE) for rule in settings.topics.values())
        self._known = Credentials() if known is None else known
        self._hook = hook
        self._now = now
        self._files = credentials.files(settings.auth)
        self._seen = _stamps(self._files)
        self._paces = Paces(settings.auth.max_inbound_per_second)
        self._admitted: dict[object, tuple[Principal, Callable[[str], object]]] = {}
        self._refused = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Access:
        """With what the files of ``[auth]`` hold. Blocking.

        Raises:
          SettingsError: a file or the hook cannot be used; naming all that is wrong.
        """
        problems: list[str] = []
        known = hook = None
        try:
            known = credentials.load(settings.auth)
        except SettingsError as error:
            problems += error.problems
        try:
            hook = _hook(settings.auth.use)
        except SettingsError as error:
            problems += error.problems
        if problems:
            raise SettingsError(problems)
        return cls(settings, known, hook)

    @property
    def recognises(self) -> bool:
        """Whether there is anything to sign in with; if not, all are anonymous, whatever they send."""
        return self._auth.recognises or self._hook is not None

    # --- who ---

    async def identify(self, headers: Headers, offered: Sequence[str] = ()) -> Principal:
        """Whose a request is; `ANONYMOUS` if it brings nothing that says so. Not a checkpoint without ``auth.use``.

        Args:
          headers: by name, in any case.
          offered: the subprotocols that a WebSocket's client offers.

        Raises:
          NotAuthenticated: it brings a token that does not count, which is no way to be anonymous.
          SignInUnavailable: the hook did not answer in time.
        """
        if not self.recognises:
            return ANONYMOUS
        plain = {name.lower(): value for name, value in headers.items()}
        token = bearer.of_header(plain.get("authorization")) or bearer.of_subprotocols(offered)
        refusal = None
        if token is not None:
            try:
                return self._known.recognise(token, self._now())
            except NotAuthenticated as error:
                refusal = error
        if self._hook is not None:
            if token is not None:
                # However it came, to the hook it is one thing.
                plain["authorization"] = f"Bearer {token}"
            principal = await self._ask(self._hook, plain)
            if principal is not None:
                return principal
        if refusal is not None:
            self._refused += 1
            logger.info("sign_in_refused", why=str(refusal))
            raise refusal
        return ANONYMOUS

    def identify_at_once(self, headers: Mapping[str, str], offered: Sequence[str] = ()) -> Principal | None:
        """As `identify`, where nobody has to be waited for and nobody is refused; None where `identify` has to decide.

        Args:
          headers: by name, in lower case.
        """
        if not self.recognises:
            return ANONYMOUS
        token = bearer.of_header(headers.get("authorization")) or bearer.of_subprotocols(offered)
        if token is None:
            return ANONYMOUS if self._hook is None else None
        try:
            return self._known.recognise(token, self._now())
        except NotAuthenticated:
            return None

    async def _ask(self, hook: Hook, headers: Mapping[str, str]) -> Principal | None:
        with trio.move_on_after(HOOK_SECONDS):
            principal = await hook(headers)
            if principal is not None and not isinstance(principal, Principal):
                raise TypeError(f"{self._auth.use} must return a Principal or None, not {type(principal).__name__}")
            if principal is not None and principal.expired(self._now()):
                return None
            return principal
        raise SignInUnavailable(f"{self._auth.use} did not answer within {HOOK_SECONDS:g} s")

    # --- what ---

    def rule(self, action: Action, topic: str | None = None) -> str:
        """The rule that decides: ``anyone``, ``server``, or a scope's name."""
        if action == "publish" and topic is not None:
            return self._settings.topic(topic).publish
        if action == "subscribe" and topic is not None:
            # Most have no rule about it, and every session has two topics from the start.
            return self._settings.topic(topic).subscribe if self._restricted else ANYONE
        return rule_for(action, self._rules)

    def decide(self, principal: Principal, action: Action, topic: str | None = None) -> Decision:
        """What `realtime.policy.access.decide` says of it, here and now."""
        return decide(principal, self.rule(action, topic), now=self._now(), required=self._auth.required)

    def may(self, principal: Principal, action: Action, topic: str | None = None) -> bool:
        """Whether *principal* may; *topic* is what `subscribe` and `publish` are about."""
        return self.decide(principal, action, topic) == "allowed"

    def explain(self, principal: Principal, action: Action, topic: str | None = None) -> str:
        """Why *principal* may not, and what to do about it; a sentence for the client."""
        rule, now = self.rule(action, topic), self._now()
        return explain(principal, action, topic, rule=rule, now=now, recognises=self.recognises)

    def within_rate(self, principal: Principal) -> bool:
        """Count a message or request of *principal*; False means that it is one too many.

        The anonymous are not counted together: nothing tells them apart but an address, which may be a proxy's.
        What bounds each of their connections stays.
        """
        if principal.anonymous:
            return True
        return self._paces.allow((principal.source, principal.name), trio.current_time())

    # --- for how long ---

    def admit(self, key: object, principal: Principal, dismiss: Callable[[str], object]) -> None:
        """Something of *principal*'s is open; when its token counts no more, *dismiss* is called once with why.

        Args:
          key: what it is, for `release`.
        """
        if not principal.anonymous:
            self._admitted[key] = (principal, dismiss)

    def release(self, key: object) -> None:
        """It is open no more; again does no harm."""
        self._admitted.pop(key, None)

    def look(self) -> None:
        """Dismiss whose token has expired, or has been taken back."""
        now = self._now()
        for key, (principal, dismiss) in list(self._admitted.items()):
            if principal.expired(now):
                self.release(key)
                dismiss("the token has expired")
            elif not self._known.still_hold(principal):
                self.release(key)
                dismiss("the token was taken back")

    async def run(self, *, task_status: trio.TaskStatus[Access] = trio.TASK_STATUS_IGNORED) -> None:
        """Look once a second, for ever, and read the files again when one has changed.

        Files that cannot be used are logged, and what was known before goes on to count.
        """
        task_status.started(self)
        while True:
            await trio.sleep(LOOK_SECONDS)
            await self.look_at_files()
            self.look()

    async def look_at_files(self) -> None:
        """Read the files again if one of them has changed."""
        # In a thread: they may lie on a disk that is slow, or gone.
        seen = await trio.to_thread.run_sync(_stamps, self._files, abandon_on_cancel=True)
        if seen != self._seen:
            self._seen = seen
            await self._read_again()

    async def _read_again(self) -> None:
        read = partial(credentials.load, self._auth)
        try:
            self._known = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
        except SettingsError as error:
            logger.error("credentials_kept", problems=error.problems)
        else:
            logger.info("credentials_read", tokens=len(self._known.tokens))

    def statistics(self) -> AccessStatistics:
        """A frozen snapshot."""
        names = {(principal.source, principal.name) for principal, _ in self._admitted.values()}
        return AccessStatistics(len(names), len(self._admitted), self._refused)


def _stamps(files: Sequence[os.PathLike[str]]) -> tuple[object, ...]:
    """What is different when a file was written or replaced."""

    def stamp(path: os.PathLike[str]) -> object:
        try:
            found = os.stat(path)
        except OSError as error:
            return error.errno
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    return tuple(map(stamp, files))


def _hook(use: str | None) -> Hook | None:
    if use is None:
        return None
    module, _, name = use.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise SettingsError([f"auth.use: {use} cannot be imported: {type(error).__name__}: {error}"]) from error
    if not inspect.iscoroutinefunction(found):
        raise SettingsError([f"auth.use: {use} must be an async function that takes the headers"])
    hook: Hook = found
    return hook
