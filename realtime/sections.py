"""The sections of the settings: what can be set, the default, and what is refused.

Each is one frozen class, named after its section and validated when built. Durations are in seconds.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
from attrs.validators import optional

from realtime.fields import at_least, each, greater_than, shown
from realtime.policy import checks
from realtime.policy.access import is_rule
from realtime.policy.lag import Overflow

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCOPE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def parse_bind(bind: str) -> tuple[str, int]:
    """The host (IPv6 without its brackets) and port in ``host:port``; port 0 lets the system choose one.

    Raises:
      ValueError: it is not of that form.
    """
    host, _, port = bind.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else -1
    # An IPv6 address needs its brackets: "::1:8000" would be one address more.
    if not host or (":" in host) != bracketed or not 0 <= number <= 65535:
        raise ValueError(f"bind must be 'host:port' or '[ipv6]:port', got {shown(bind)}")
    return host, number


def _bind(_instance: object, _field: "attrs.Attribute[str]", value: str) -> None:
    parse_bind(value)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:  # a name
        return None


def _wrong_host(name: str) -> str | None:
    if _HOST.fullmatch(name) or str(_address(name)) == name:
        return None
    return "must be names or addresses as in a Host header, in lower case, without port and brackets"


def _wrong_origin(origin: str) -> str | None:
    """A browser sends exactly one form, so any other would never match and is refused when read."""
    wanted = "must be origins as a browser sends them, like 'https://example.org'"
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        return wanted
    if not parts.scheme or not host:
        return wanted
    host = f"[{host}]" if ":" in host else host
    port_text = "" if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    right = f"{parts.scheme}://{host}{port_text}"
    return None if origin == right else f"{wanted} (here: {right!r})"


@attrs.frozen
class Server:
    """``[server]``: the listening socket, its limits, and how it goes away."""

    bind: str = attrs.field(default="127.0.0.1:8000", validator=_bind)
    allowed_hosts: tuple[str, ...] = attrs.field(validator=each(_wrong_host))
    allowed_origins: tuple[str, ...] = attrs.field(default=(), validator=each(_wrong_origin))
    certfile: Path | None = None
    keyfile: Path | None = None
    drain_timeout: float = attrs.field(default=10.0, validator=greater_than(0))
    drain_window: float = attrs.field(default=5.0, validator=at_least(0))
    write_timeout: float = attrs.field(default=10.0, validator=greater_than(0))
    handshake_timeout: float = attrs.field(default=10.0, validator=greater_than(0))
    max_connections: int = attrs.field(default=10_000, validator=at_least(1))
    max_connections_per_address: int = attrs.field(default=1_000, validator=at_least(1))
    max_message_bytes: int = attrs.field(default=65_536, validator=at_least(1))
    compression: bool = False
    debug: bool = False
    gc: Literal["tuned", "default"] = "tuned"

    @allowed_hosts.default
    def _hosts_of_bind(self) -> tuple[str, ...]:
        host = parse_bind(self.bind)[0].lower()
        address = _address(host)
        if address is not None and address.is_unspecified:
            raise ValueError(
                f"allowed_hosts must be set when bind is {self.bind!r}: it listens on every address of the"
                " machine, and only you know by which names clients reach it"
            )
        own = host if address is None else str(address)  # browsers send an IPv6 address in its shortest form
        return LOOPBACK_NAMES if own in LOOPBACK_NAMES else (own, *LOOPBACK_NAMES)

    def __attrs_post_init__(self) -> None:
        if not self.allowed_hosts:
            raise ValueError("allowed_hosts must name at least one host, or be left out; nobody could connect")
        if (self.certfile is None) != (self.keyfile is None):
            missing = "certfile" if self.certfile is None else "keyfile"
            raise ValueError(f"{missing} is missing: certfile and keyfile go together")

    @property
    def host(self) -> str:
        """The host to listen on, an IPv6 address without brackets."""
        return parse_bind(self.bind)[0]

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose one."""
        return parse_bind(self.bind)[1]


@attrs.frozen
class Delivery:
    """``[delivery]``: the bounds of one connection."""

    mailbox_messages: int = attrs.field(default=1_000, validator=at_least(1))
    mailbox_bytes: int = attrs.field(default=1_048_576, validator=at_least(1))
    max_topics_per_connection: int = attrs.field(default=128, validator=at_least(1))
    max_inbound_per_second: int = attrs.field(default=50, validator=at_least(1))


@attrs.frozen
class Heartbeat:
    """``[heartbeat]``: how often each connection is pinged, and how long the answer may take."""

    interval: float = attrs.field(default=30.0, validator=greater_than(0))
    pong_timeout: float = attrs.field(default=10.0, validator=greater_than(0))


@attrs.frozen
class Store:
    """``[store]``: where events are kept, and how many for how long."""

    path: Path = Path("realtime.db")
    retention_days: float = attrs.field(default=30.0, validator=greater_than(0))
    retention_events: int = attrs.field(default=1_000_000, validator=at_least(1))


def _url(_instance: object, _field: "attrs.Attribute[str]", value: str) -> None:
    # The value itself may hold a password, and stays out of the error.
    if value != "local" and not re.match(r"rediss?://.", value):
        raise ValueError("url must be 'local', 'redis://host:port' or 'rediss://host:port'")


def _prefix(_instance: object, _field: "attrs.Attribute[str]", value: str) -> None:
    if not _SCOPE.fullmatch(value):
        raise ValueError(f"prefix must be 1 to 64 letters, digits, '_', '.', ':' or '-', got {shown(value)}")


def _without_password(url: str) -> str:
    return repr(re.sub(r"//.*@", "//***@", url))


@attrs.frozen
class Engine:
    """``[engine]``: one process alone, or several that share their topics through Redis."""

    url: str = attrs.field(default="local", validator=_url, repr=_without_password)
    prefix: str = attrs.field(default="realtime", validator=_prefix)


def _rule(_instance: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not is_rule(value):
        raise ValueError(f"{field.name} must be 'server', 'anyone' or the name of a scope, got {shown(value)}")


_SECRET_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
_KEY_ALGORITHMS = frozenset(
    {"ES256", "ES256K", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
)


def _algorithms(_instance: object, _field: object, value: tuple[str, ...]) -> None:
    for name in value:
        if name not in _SECRET_ALGORITHMS | _KEY_ALGORITHMS:
            known = ", ".join(sorted(_SECRET_ALGORITHMS | _KEY_ALGORITHMS))
            raise ValueError(f"jwt_algorithms must be some of {known}, got {shown(name)}")


def _use(_instance: object, _field: object, value: str) -> None:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", value):
        raise ValueError(f"use must be 'module:function', got {shown(value)}")


@attrs.frozen
class Auth:
    """``[auth]``: by what clients are recognised, and what is asked of them; nothing set, they are anonymous.

    Attributes:
      admin_token_file: the token of operators; without any admin, operator actions are refused.
      tokens_file: further tokens, each with its name, scopes and expiry.
      use: ``module:function``, an async callable from headers to a principal, or None.
      jwt_algorithms: those accepted: HS with the secret, the others with the public key.
      jwt_scopes_claim: the claim with the scopes, a list or a text with spaces.
      required: whether nobody is served who has not signed in.
      max_inbound_per_second: messages and requests of one principal, over all its connections.
      may_read: who may read over HTTP; this and the following are ``anyone`` or a scope, or ``server`` for nobody.
    """

    admin_token_file: Path | None = None
    tokens_file: Path | None = None
    use: str | None = attrs.field(default=None, validator=optional(_use))
    jwt_secret_file: Path | None = None
    jwt_public_key_file: Path | None = None
    jwt_algorithms: tuple[str, ...] = attrs.field(default=(), validator=_algorithms)
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_scopes_claim: str = "scope"
    required: bool = False
    max_inbound_per_second: int = attrs.field(default=500, validator=at_least(1))
    may_read: str = attrs.field(default="anyone", validator=_rule)
    may_create_event: str = attrs.field(default="anyone", validator=_rule)
    may_emit: str = attrs.field(default="anyone", validator=_rule)
    may_start_task: str = attrs.field(default="anyone", validator=_rule)
    may_cancel_task: str = attrs.field(default="anyone", validator=_rule)
    may_call: str = attrs.field(default="anyone", validator=_rule)

    def __attrs_post_init__(self) -> None:
        if self.required and not self.recognises:
            raise ValueError("required needs something to sign in with: tokens_file, admin_token_file, jwt_* or use")
        keys = {"jwt_secret_file": _SECRET_ALGORITHMS, "jwt_public_key_file": _KEY_ALGORITHMS}
        for key, fitting in keys.items():
            listed = [name for name in self.jwt_algorithms if name in fitting]
            if getattr(self, key) is not None and not listed:
                raise ValueError(f"jwt_algorithms must list what {key} is for: some of {', '.join(sorted(fitting))}")
            if getattr(self, key) is None and listed:
                raise ValueError(f"jwt_algorithms lists {listed[0]}, which needs {key}")
        for name in ("jwt_issuer", "jwt_audience"):
            if getattr(self, name) is not None and not self.jwt:
                raise ValueError(f"{name} has no effect without jwt_secret_file or jwt_public_key_file")

    @property
    def jwt(self) -> bool:
        """Whether JSON Web Tokens are accepted."""
        return self.jwt_secret_file is not None or self.jwt_public_key_file is not None

    @property
    def recognises(self) -> bool:
        """Whether there is anything to sign in with."""
        return self.jwt or any(x is not None for x in (self.admin_token_file, self.tokens_file, self.use))

    @property
    def rules(self) -> Mapping[str, str]:
        """The rules by action, as `realtime.policy.access.rule_for` wants them."""
        names = (field.name for field in attrs.fields(type(self)) if field.name.startswith("may_"))
        return {name.removeprefix("may_"): getattr(self, name) for name in names}


@attrs.frozen
class Log:
    """``[log]``: from which level on, and whether for people or for programs.

    Attributes:
      blocked_after: seconds after which it is logged who blocks the loop, with the place in the code; 0: nobody looks.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    blocked_after: float = attrs.field(default=0.0, validator=at_least(0))


@attrs.frozen
class TopicRule:
    """``[topics."<name or prefix*>"]``: None was not given; the topic's built-in default holds."""

    overflow: Overflow | None = None
    wait_seconds: float | None = attrs.field(default=None, validator=optional(greater_than(0)))
    history: int | None = attrs.field(default=None, validator=optional(at_least(0)))
    publish: str | None = attrs.field(default=None, validator=optional(_rule))
    subscribe: str | None = attrs.field(default=None, validator=optional(_rule))
    presence: bool | None = None

    def __attrs_post_init__(self) -> None:
        if self.presence and self.overflow is Overflow.CONFLATE:
            raise ValueError(
                "presence cannot be had with overflow 'conflate': joins and leaves would replace each other"
            )


@attrs.frozen
class ActorSettings:
    """``[actors.<id>]``: which module, and how it is restarted; all other keys are the module's own.

    Attributes:
      use: a dotted module, or the name of an entry point.
      restart: this and the following are None where the child specs of the module decide.
      shutdown: seconds to end by itself when it is stopped.
      backoff_first: the first delay of a backoff; `backoff_maximum` is the longest.
      healthy_uptime: seconds after which a failure is forgotten.
      max_failures: in a row, after which it is given up.
      options: the module's own keys, which the module checks.
    """

    use: str
    enabled: bool = True
    restart: Literal["permanent", "transient", "temporary"] | None = None
    shutdown: float | None = attrs.field(default=None, validator=optional(greater_than(0)))
    backoff_first: float | None = attrs.field(default=None, validator=optional(greater_than(0)))
    backoff_maximum: float | None = attrs.field(default=None, validator=optional(greater_than(0)))
    healthy_uptime: float | None = attrs.field(default=None, validator=optional(greater_than(0)))
    max_failures: int | None = attrs.field(default=None, validator=optional(at_least(1)))
    options: Mapping[str, Any] = attrs.field(factory=dict)


def _header(_instance: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", value):
        raise ValueError(f"{field.name} must be the name of a header, got {shown(value)}")


@attrs.frozen
class WebhookSettings:
    """``[webhooks.<name>]``: whose signed messages become events of the type ``webhook.<name>``.

    Attributes:
      secret_file: with the secret that both sides know; several, one to a line, while one replaces another.
      signature_header: the header with the signature, ``sha256=<hex>`` or the digits alone.
      timestamp_header: the header with the time in seconds since 1970, signed as ``<time>.<body>``; None: no time is.
      tolerance: seconds by which that time may differ from ours.
      severity, source, tags: those of the events.
    """

    secret_file: Path
    signature_header: str = attrs.field(default="X-Hub-Signature-256", validator=_header)
    timestamp_header: str | None = attrs.field(default=None, validator=optional(_header))
    tolerance: float = attrs.field(default=300.0, validator=greater_than(0))
    severity: checks.Severity = attrs.field(default="info", validator=checks.is_severity)
    source: str | None = attrs.field(default=None, validator=optional(checks.is_source))
    tags: tuple[str, ...] = attrs.field(default=(), validator=checks.are_tags)


@attrs.frozen
class JobSettings:
    """``[jobs.<name>]``: an external command that clients may start; no shell reads it.

    Attributes:
      command: the program and its arguments, in which ``{name}`` stands for a parameter.
      timeout: seconds after which it is ended.
      parameters: for each parameter the regular expression that its whole value has to match.
    """

    command: tuple[str, ...]
    timeout: float = attrs.field(default=3600.0, validator=greater_than(0))
    parameters: Mapping[str, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise ValueError("command must name a program, then its arguments, as a list")
        for name, pattern in self.parameters.items():
            if not any(f"{{{name}}}" in argument for argument in self.command[1:]):
                raise ValueError(f"parameters.{name} stands in no argument of command as {{{name}}}")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"parameters.{name} is no regular expression: {error}") from None
