"""A run as a person opens it: from disk, in a headless Chromium of the system."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LARGEST = 8_000_000  # bytes of a page
DESKTOP, PHONE = 1400, 390  # pixels
FOREIGN = ("multiqc_report.html", "snakemake_report.html")  # pages whose layout is not ours


@dataclass
class Seen:
    """What came up on the way.

    Parameters
    ----------
    pages : dict of Path to int
        Pages opened, and their bytes.
    files : set of Path
        Files that are linked to beside pages.
    errors, requests, wide : list of str
        Messages of the console and uncaught errors; addresses that are not on disk; pages that a phone must scroll sideways.
    enlarged : int
        Figures that were enlarged.
    """

    pages: dict[Path, int] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)
    enlarged: int = 0


def system_chromium() -> str | None:
    """The browser of this machine, where there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = system_chromium()
    if found is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def watched(browser: Any, seen: Seen, width: int = DESKTOP) -> Any:
    """A page whose console and requests are noted in `seen`."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else seen.requests.append(asked.url),
    )
    return page


def walk(browser: Any, index: Path) -> Seen:
    """Open a page and all that it leads to on disk, enlarge a figure of each, and look at each on a phone."""
    seen = Seen()
    page, phone = watched(browser, seen), watched(browser, seen, PHONE)
    waiting = [index.resolve()]
    while waiting:
        path = waiting.pop()
        if path in seen.pages:
            continue
        seen.pages[path] = path.stat().st_size
        page.goto(path.as_uri())
        page.wait_for_timeout(100)
        for address in page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
            parts = urlsplit(address)
            if parts.scheme != "file" or path.name in FOREIGN:
                continue
            target = Path(unquote(parts.path))
            (waiting.append if target.suffix == ".html" else seen.files.add)(target)
        if path.name not in FOREIGN:
            phone.goto(path.as_uri())
            across = phone.evaluate("document.documentElement.scrollWidth")
            if across > PHONE:
                seen.wide.append(f"{path.name}: {across} px")
            seen.enlarged += enlarge(page)
    return seen


def enlarge(page: Any) -> int:
    """Enlarge the first figure with the keyboard and close it again; the number of figures enlarged."""
    figures = page.locator("button.zoom")
    if not figures.count():
        return 0
    figures.first.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog[open] img")
    assert large.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    return 1


def column(page: Any, heading: str) -> list[str]:
    """Cells of a column of the table of fits, as shown."""
    names = [name.strip() for name in page.locator("table.fits th").all_inner_texts()]
    place = next(i for i, name in enumerate(names) if name.startswith(heading))
    return [cell.strip() for cell in page.locator(f"table.fits tbody td:nth-child({place + 1})").all_inner_texts()]


def check_run(results: Path) -> Seen:
    """Everything that a run shows, in a browser: no error, no request, no dead link, no page too large or too wide."""
    with chromium() as browser:
        seen = walk(browser, results / "index.html")
        page = watched(browser, seen)
        page.goto((results / "index.html").as_uri())
        before = column(page, "Passes")
        for turn in (1, -1):
            page.get_by_role("button", name="Passes").click()
            numbers = [int(text.replace(",", "")) for text in column(page, "Passes")]
            assert numbers == sorted(numbers, reverse=turn < 0)
        assert sorted(numbers) == sorted(int(text.replace(",", "")) for text in before)
    assert seen.errors == []
    assert seen.requests == []
    assert seen.wide == []
    assert [path for path in seen.files if not path.exists()] == []
    assert {path.name: size for path, size in seen.pages.items() if size > LARGEST} == {}
    return seen
