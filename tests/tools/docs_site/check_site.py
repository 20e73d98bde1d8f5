"""Promise: every page of the site renders, without a network, on a phone too; the search finds.

``make docs-test`` builds the site and opens it in a headless Chromium: the one that the variable
CHROMIUM names, or one on PATH. Without any it fails: what nobody looked at is not known to render.
"""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

SITE = Path(__file__).parents[3] / "build" / "site"
PAGES = sorted(str(file.relative_to(SITE)) for file in SITE.rglob("*.html"))
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = 1280, 390  # pixels
SIDEWAYS = "document.documentElement.scrollWidth - window.innerWidth"
BLIND = """async () => {
    const images = [...document.images];
    images.forEach(image => { image.loading = 'eager' });
    await Promise.all(images.map(image => image.decode().catch(() => null)));
    return images.filter(image => !image.naturalWidth).map(image => image.src);
}"""


def chromium() -> str:
    """Return the path of a Chromium on this machine."""
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [path for name in NAMES if (path := shutil.which(name))]
    if not found or not Path(found[0]).is_file():
        pytest.fail(
            f"CHROMIUM: got {named!r}, takes the path of a Chromium; without it, one of "
            f"{', '.join(NAMES)} has to be on PATH. On Debian: apt-get install chromium",
            pytrace=False,
        )
    return found[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root.
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        arguments = ["--no-sandbox"] if is_root else []
        with playwright.chromium.launch(executable_path=path, args=arguments) as launched:
            yield launched


class Silent(SimpleHTTPRequestHandler):
    """Serves a folder and keeps no log."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def serve(folder: Path) -> Iterator[str]:
    """Yield the address at which the folder is served meanwhile."""
    handler = functools.partial(Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    assert PAGES, f"{SITE} holds no page: make docs builds it"
    yield from serve(SITE)


def open_page(browser: Browser, url: str) -> tuple[Page, list[str]]:
    """Open a page where no other host can be reached; return it and the list of its faults."""
    page = browser.new_page(viewport={"width": DESKTOP, "height": 900})
    faults: list[str] = []
    page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"request: {request.url}"))
    own = url[: url.index("/", len("http://"))]

    def only_here(route: Route) -> None:
        if route.request.url.startswith((own, "data:", "blob:")):
            route.continue_()
        else:
            faults.append(f"from the network: {route.request.url}")
            route.abort()

    page.route("**/*", only_here)
    page.goto(url, wait_until="load")
    return page, faults


def look_at(browser: Browser, url: str) -> list[str]:
    """Open a page on a desk and on a phone; return everything that is wrong with it."""
    page, faults = open_page(browser, url)
    if not page.locator("h1").first.is_visible():
        faults.append("no heading is visible")
    faults += [f"picture: {source}" for source in page.evaluate(BLIND)]
    for width in (DESKTOP, PHONE):
        page.set_viewport_size({"width": width, "height": 844})
        beyond = page.evaluate(SIDEWAYS)
        if beyond > 0:
            faults.append(f"sideways: {beyond} pixels more than a width of {width}")
    page.close()
    return faults


@pytest.mark.parametrize("name", PAGES)
def test_the_page_renders_on_desk_and_phone(browser: Browser, address: str, name: str) -> None:
    assert look_at(browser, f"{address}/{name}") == []


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_search_finds_ignore_index(browser: Browser, address: str, width: int) -> None:
    page, faults = open_page(browser, f"{address}/index.html")
    page.set_viewport_size({"width": width, "height": 844})
    if width == PHONE:
        page.locator("label.md-header__button[for=__search]").click()
    page.locator("input.md-search__input").click()
    page.keyboard.type("ignore_index")
    results = page.locator("a.md-search-result__link")
    results.first.wait_for()
    found = [results.nth(place).get_attribute("href") or "" for place in range(results.count())]
    assert any("api.html" in link for link in found), found
    results.first.click()
    page.wait_for_load_state("load")
    assert "ignore_index" in page.locator("article").inner_text()
    assert faults == []
    page.close()


def test_code_of_the_examples_stands_in_the_pages(browser: Browser, address: str) -> None:
    page, _ = open_page(browser, f"{address}/monai.html")
    assert "DeepSupervisionLoss" in page.locator("article pre").first.inner_text()
    page.close()


FAULTY = {
    "console": "<h1>x</h1><script>console.error('broken')</script>",
    "script": "<h1>x</h1><script>throw new Error('broken')</script>",
    "picture": "<h1>x</h1><img src='nowhere.png'>",
    "from the network": "<h1>x</h1><script src='https://example.com/x.js'></script>",
    "no heading": "<p>nothing</p>",
    "sideways": "<meta name=viewport content='width=device-width'><h1>x</h1>"
    "<div style='width: 500px'>wide</div>",
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_page_is_noticed(browser: Browser, tmp_path: Path, fault: str) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html>{FAULTY[fault]}")
    for base in serve(tmp_path):
        assert any(told.startswith(fault) for told in look_at(browser, f"{base}/page.html"))


def test_without_a_chromium_it_fails_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        chromium()
