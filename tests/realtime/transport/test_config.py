"""What Hypercorn is told, and which Hypercorn it must be."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest

from realtime.sections import Delivery, Server
from realtime.transport import ServerConfig, UnsupportedHypercorn, check_hypercorn


def test_the_installed_hypercorn_is_a_tested_one() -> None:
    check_hypercorn()


@pytest.mark.parametrize("version", ["0.17.3", "0.19.0", "1.0"])
def test_another_hypercorn_is_refused_with_what_is_wanted(version: str) -> None:
    with pytest.raises(UnsupportedHypercorn, match=rf"Hypercorn {version} is installed.*0\.18\.x") as caught:
        check_hypercorn(version)
    assert "hypercorn[trio]==0.18.*" in str(caught.value)


def test_the_settings_reach_every_limit() -> None:
    section = Server(
        write_timeout=1,
        handshake_timeout=2,
        drain_timeout=3,
        max_message_bytes=4,
        compression=True,
        certfile=Path("c"),
        keyfile=Path("k"),
    )
    config = ServerConfig.from_settings(section, Delivery(max_inbound_per_second=5))
    assert (config.write_timeout, config.handshake_timeout, config.drain_timeout) == (1, 2, 3)
    assert (config.max_message_bytes, config.certfile, config.keyfile) == (4, Path("c"), Path("k"))
    assert config.max_frames_per_second == 100
    assert config.compression is True


def test_hypercorn_says_nothing_of_itself_and_logs_where_we_do() -> None:
    config = ServerConfig(max_message_bytes=123).hypercorn()
    assert config.include_server_header is False
    assert config.accesslog is None
    assert config.log.error_logger is logging.getLogger("hypercorn.error")
    assert config.log.access_logger is None
    assert config.websocket_ping_interval is None
    assert config.websocket_max_message_size == 123


def test_without_a_certificate_there_is_no_tls() -> None:
    config = ServerConfig()
    assert config.ssl_context(config.hypercorn()) is None


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    config = ServerConfig(certfile=tmp_path / "cert.pem", keyfile=tmp_path / "key.pem")
    with pytest.raises(FileNotFoundError, match=r"cert\.pem.*key\.pem"):
        config.ssl_context(config.hypercorn())


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("no certificate")
    config = ServerConfig(certfile=file, keyfile=file)
    with pytest.raises(ssl.SSLError, match=r"cert\.pem"):
        config.ssl_context(config.hypercorn())
