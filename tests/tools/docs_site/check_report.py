"""Promise: the verdict's report.html renders from the file alone, on a phone too, day and night."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.tools.docs_site.check_site import (
    DESKTOP,
    PHONE,
    SIDEWAYS,
    browser,
    look_at,
    open_page,
    serve,
)
from tests.topology_data import command, write_referees_case

__all__ = ["browser"]  # a fixture
BRIGHTNESS = """() => {
    const of = colour => colour.match(/\\d+/g).slice(0, 3).reduce((sum, x) => sum + Number(x), 0);
    const style = getComputedStyle(document.body);
    return [of(style.color), of(style.backgroundColor)];
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a data set with a collapsed training, and with the tables of another command."""
    data, out = write_referees_case(tmp_path_factory.mktemp("report"), 6, {("on", 1): 0.1})
    command("benchmark", out)
    command("verdict", "--data", data, "--out", out, "--one-process", "--losses", "cldice",
            "--seeds", 2)  # fmt: skip
    return out / "report.html"


def test_it_renders_on_desk_and_phone(browser: Browser, report: Path) -> None:
    for address in serve(report.parent):
        assert look_at(browser, f"{address}/{report.name}") == []


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_its_folded_tables_scroll_by_themselves(browser: Browser, report: Path, width: int) -> None:
    for address in serve(report.parent):
        page, faults = open_page(browser, f"{address}/{report.name}")
        page.set_viewport_size({"width": width, "height": 844})
        for summary in page.locator("summary").all():
            summary.click()
        tables = page.locator("table").all()
        assert len(tables) == 4  # the verdict, every measure, another command's, the curves
        assert all(table.is_visible() for table in tables)
        assert page.evaluate(SIDEWAYS) <= 0
        assert faults == []
        page.close()


@pytest.mark.parametrize("dark", [False, True])
def test_its_text_stands_out_by_day_and_night(browser: Browser, report: Path, dark: bool) -> None:
    page = browser.new_page(color_scheme="dark" if dark else "light")
    page.goto(report.as_uri())
    text, ground = page.evaluate(BRIGHTNESS)
    assert (text > ground) == dark
    assert abs(text - ground) > 500
    page.close()
