"""Settings with something to sign in with: a file of tokens, and one for the admin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from realtime.sections import Auth, TopicRule
from realtime.settings import Settings

from ..in_process import CLOCK, make_settings

ANN = "ann-0123456789abcdef"
"""Who has the scope ``editors``."""
BOB = "bob-0123456789abcdef"
"""Who has none."""
ADMIN = "correct horse battery staple"
TOKENS = f"""
[tokens.ann]
token = "{ANN}"
scopes = ["editors"]

[tokens.bob]
token = "{BOB}"
"""


def settings_of(
    folder: Path,
    *,
    topics: Mapping[str, TopicRule] | None = None,
    server: dict[str, Any] | None = None,
    **auth: Any,
) -> Settings:
    """With these tokens in files in *folder*, and *auth* beside them."""
    (folder / "tokens.toml").write_text(TOKENS)
    (folder / "admin.token").write_text(ADMIN)
    auth = {"tokens_file": folder / "tokens.toml", "admin_token_file": folder / "admin.token"} | auth
    return make_settings(auth=Auth(**auth), topics=topics or {}, server=server, actors={"clock": CLOCK})
