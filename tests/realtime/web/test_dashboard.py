import pytest

from realtime.web import dashboard

from ..in_process import make_settings, running

NO_CACHE = "no-cache"


async def test_the_page_is_html_that_is_checked_again_on_each_load(system):
    answer = await system.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == NO_CACHE
    assert b"<!doctype html>" in await answer.get_data()


@pytest.mark.parametrize("debug", [True, False])
async def test_the_page_knows_whether_it_may_show_crash_buttons(debug):
    async with running(make_settings(server={"debug": debug})) as system:
        body = await (await system.client.get("/")).get_data(as_text=True)
    assert f'content="{str(debug).lower()}"' in body
    assert "{{" not in body


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("dashboard.css", "text/css; charset=utf-8"),
        ("favicon.svg", "image/svg+xml"),
    ],
)
async def test_a_file_has_the_type_that_browsers_insist_on(system, name, content_type):
    answer = await system.client.get(f"/static/{name}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Cache-Control"] == NO_CACHE
    assert await answer.get_data() == (dashboard.STATIC / name).read_bytes()


@pytest.mark.parametrize("path", ["/", "/static/main.js"])
async def test_what_the_browser_has_is_not_sent_again(system, path):
    first = await system.client.get(path)
    again = await system.client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert await again.get_data() == b""
    changed = await system.client.get(path, headers={"If-None-Match": '"of an earlier version"'})
    assert changed.status_code == 200


async def test_the_etag_tells_contents_apart():
    assert dashboard.Asset(b"a", "text/plain").etag != dashboard.Asset(b"b", "text/plain").etag
    assert dashboard.Asset(b"a", "text/plain").etag == dashboard.Asset(b"a", "text/css").etag


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/nothing.js",
        "/static/index.html",  # served at / alone, with what belongs into it put in
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
    ],
)
async def test_there_is_nothing_else_below_static(system, path):
    answer = await system.client.get(path)
    assert answer.status_code == 404
    assert (await answer.get_json())["error"]["code"] == "not_found"


def test_every_file_of_a_folder_is_found_by_its_path(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.JS").write_bytes(b"1")
    (tmp_path / "b.png").write_bytes(b"2")
    (tmp_path / "c").write_bytes(b"3")
    found = dashboard.read_assets(tmp_path)
    assert {name: asset.body for name, asset in found.items()} == {"deep/a.JS": b"1", "b.png": b"2", "c": b"3"}
    assert found["b.png"].content_type == "image/png"
    assert found["c"].content_type == "application/octet-stream"
