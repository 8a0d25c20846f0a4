"""The page and what it is made of: read once, checked again by the browser on each load."""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
from quart import Response, request
from quart_trio import QuartTrio

from realtime.web.access import open_to_all
from realtime.web.described import Answer, described
from realtime.web.errors import ApiError

STATIC: Final = Path(__file__).parent / "static"
PAGE: Final = "index.html"

# Not looked up in the system's table: with `nosniff` a browser runs no script that a table calls something else.
_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

SEEN: Final = Answer(content_type=None, text="The browser has it already.")


@attrs.frozen
class Asset:
    """A file as it is sent."""

    body: bytes = attrs.field(repr=False)
    content_type: str
    etag: str = attrs.field(init=False)

    @etag.default
    def _of_the_body(self) -> str:
        return hashlib.blake2b(self.body, digest_size=12).hexdigest()


def read_assets(folder: Path) -> dict[str, Asset]:
    """Every file below *folder* by its path in there.  Blocking; some hundred kilobytes in all, kept in memory."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _read(path) for path in files}


@functools.cache
def read_asset(name: str) -> Asset:
    """The file *name* of `STATIC`; blocking, once."""
    return _read(STATIC / name)


def _read(path: Path) -> Asset:
    return Asset(path.read_bytes(), _type_of(path))


def _type_of(path: Path) -> str:
    return _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def register(app: QuartTrio, *, debug: bool) -> None:
    """Serve the dashboard: the page at ``/``, the rest below ``/static/``.

    Args:
      debug: whether the page shows its crash buttons.
    """
    assets = read_assets(STATIC)
    body = assets.pop(PAGE).body.replace(b"{{debug}}", str(debug).lower().encode())
    page = Asset(body, _TYPES[".html"])

    @app.get("/")
    @described(answers={200: Answer(content_type=_TYPES[".html"]), 304: SEEN})
    @open_to_all
    async def dashboard() -> Response:
        """The dashboard."""
        return await answer(page)

    @app.get("/static/<path:name>")
    @described(
        path={"name": ("the file's", "main.js")},
        answers={200: Answer(content_type="*/*"), 304: SEEN},
        errors=(404,),
    )
    @open_to_all
    async def static(name: str) -> Response:
        """What the pages are made of."""
        if name not in assets:
            raise ApiError(404, "there is no such file")
        return await answer(assets[name])


async def answer(asset: Asset) -> Response:
    """*asset*, or 304 if the browser has it.  Asked about on each load, so that an upgrade shows at once."""
    response = Response(asset.body, content_type=asset.content_type, headers={"Cache-Control": "no-cache"})
    response.set_etag(asset.etag)
    await response.make_conditional(request)
    return response
