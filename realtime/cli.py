"""The command line: ``realtime serve``, ``check``, ``tail``, ``emit``, ``tree``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from realtime import __version__
from realtime.settings import Settings, SettingsError, find, load

SERVER = "http://127.0.0.1:8000"

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The settings; else REALTIME_CONFIG, else realtime.toml in this folder, else the defaults.",
)


token_option = click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the token to sign in with; else REALTIME_TOKEN. There is no option for the token itself.",
)


TRUST = (
    "Over TLS the server's certificate has to be verified: SSL_CERT_FILE in the environment names a file with the "
    "certificates to trust, such as that of an authority of your own or a self-signed one."
)


@click.group()
@click.version_option(__version__, prog_name="realtime")
def main() -> None:
    """Live data to many web clients, from a supervised tree."""


def _settings(config: Path | None) -> Settings:
    from realtime.plugins import look_beside

    path = config or find(os.environ, Path.cwd())
    look_beside(path)
    try:
        return load(path, os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error


def _or_exit(build: Callable[[], Any]) -> Any:
    """What *build* returns; what it refuses ends the command with one clear line."""
    from realtime.plugins import PluginError

    try:
        return build()
    except (SettingsError, PluginError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@config_option
def serve(config: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; the second one does not wait for anybody. SIGUSR2 restarts."""
    # Imported here: `realtime --help` and `realtime tail` need none of it.
    from realtime import log, restart, server

    restart.ignore_until_served()
    anew = restart.Restart.of_this_process(config, os.environ, sys.argv, sys.orig_argv)
    settings = _settings(config)
    log.configure(settings.log.level, settings.log.format)
    process = _or_exit(partial(server.prepare, settings, anew))
    status = trio.run(process.run)
    if status is None:
        _or_exit(partial(anew.begin_anew, process.listener, os.environ))
    sys.exit(status)


@main.command()
@config_option
def check(config: Path | None) -> None:
    """Read the settings and the certificate and load every actor module, without serving anything."""
    from realtime.transport import ServerConfig
    from realtime.tree import build

    settings = _settings(config)
    system = _or_exit(partial(build, settings))
    transport = ServerConfig.from_settings(settings.server, settings.delivery)
    _or_exit(lambda: transport.ssl_context(transport.hypercorn()))
    assert system.backend.modules is not None
    actors = ", ".join(each.id for each in system.backend.modules.listing() if each.plugin is not None) or "none"
    click.echo(f"settings are fine; actor modules: {actors}; it would listen on {settings.server.bind}")


@main.command()
@config_option
def modules(config: Path | None) -> None:
    """List the actor modules that are configured, what each brings, and what is installed besides."""
    from realtime.inventory import inventory

    settings = _settings(config)
    for line in _or_exit(lambda: list(inventory(settings))):
        click.echo(line)


@main.command("new-module")
@click.argument("name")
@click.option(
    "--in", "where", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".", help="The folder."
)
def new_module(name: str, where: Path) -> None:
    """Write a package NAME with an actor module and a test that passes."""
    from realtime import scaffold

    try:
        folder = scaffold.write(name, where)
    except FileExistsError as error:
        raise click.ClickException(f"{where / name} is there already; nothing was written") from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    except OSError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"written: {folder}; next: cd {folder} && pip install --editable . && pytest")


@main.command(epilog=TRUST)
@click.argument("url")
@click.option("--max", "max_messages", type=click.IntRange(min=1), help="Stop after this many messages.")
@click.option("--subscribe", "topics", multiple=True, metavar="TOPIC", help="Also subscribe to this topic; repeatable.")
@token_option
def tail(url: str, max_messages: int | None, topics: tuple[str, ...], token_file: Path | None) -> None:
    """Print each message of a stream, one a line, and reconnect when it breaks."""
    # Imported here: the server needs none of it.
    try:
        from realtime.client import TailEnded, check_url
        from realtime.client import tail as run_tail
    except ModuleNotFoundError as error:
        if error.name != "trio_websocket":
            raise
        raise click.ClickException("tail needs trio-websocket: pip install 'realtime-supervised[client]'") from error
    from realtime.remote import RemoteError, read_token

    try:
        check_url(url)
        token = read_token(os.environ, token_file)
    except RemoteError as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    note = partial(click.echo, err=True)
    try:
        trio.run(partial(run_tail, url, max_messages, topics, print_line=click.echo, note=note, token=token))
    except TailEnded as end:
        raise click.ClickException(str(end)) from end
    except KeyboardInterrupt:
        sys.exit(130)  # what shells report for a program ended by Ctrl-C


def _asked(url: str, token_file: Path | None, ask: Callable[[Any], Any]) -> Any:
    """What *ask* makes of the server at *url*; what goes wrong ends the command with one clear line."""
    from realtime.remote import Remote, RemoteError, read_token

    try:
        return ask(Remote(url, read_token(os.environ, token_file)))
    except RemoteError as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error


def _destination(_context: click.Context, _option: click.Parameter, text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    kind, _, name = text.partition(":")
    if kind not in ("session", "topic") or not name:
        raise click.BadParameter(f"must be session:ID or topic:NAME, got {text!r}")
    return {kind: name}


def _json(_context: click.Context, _option: click.Parameter, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}") from error


@main.command(epilog=TRUST)
@click.argument("event")
@click.option("--data", default="null", metavar="JSON", callback=_json, help="What to send with it.")
@click.option("--to", metavar="session:ID|topic:NAME", callback=_destination, help="To whom; else every session.")
@click.option("--ack", is_flag=True, help="Ask each client for an acknowledgement, and wait for them.")
@click.option("--url", default=SERVER, show_default=True, help="The server.")
@token_option
def emit(event: str, data: Any, to: dict[str, str] | None, ack: bool, url: str, token_file: Path | None) -> None:
    """Send a message to sessions, and print whom it reached."""
    options = {"ack": True} if ack else {}
    reached = _asked(url, token_file, lambda server: server.emit(event, data, to, **options))
    click.echo(", ".join(f"{count} {what}" for what, count in reached.items()))


@main.command(epilog=TRUST)
@click.argument("url", default=SERVER)
@click.option("--path", default="", help="Only what stands below this node, such as broadcasters.")
@token_option
def tree(url: str, path: str, token_file: Path | None) -> None:
    """Print the supervision tree of the server at URL; the exit code is 1 if anything in it is not in order."""
    from realtime.remote import draw

    node = _asked(url, token_file, lambda server: server.tree(path))
    click.echo("\n".join(draw(node)))
    if node["health"] != "ok":
        sys.exit(1)
