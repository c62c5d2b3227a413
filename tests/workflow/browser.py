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
FOREIGN = ("multiqc_report.html", "snakemake_report.html")  # pages whose links are not ours
FIXED = ("snakemake_report.html",)  # of these, whose width is not either


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
        if path.name not in FIXED:
            phone.goto(path.as_uri())
            phone.wait_for_timeout(100)
            across = phone.evaluate("document.documentElement.scrollWidth")
            if across > PHONE:
                seen.wide.append(f"{path.name}: {across} px")
            seen.enlarged += enlarge(page)
    return seen


# Corners of each text of a figure of matplotlib, turned as the text is; texts that touch by half a pixel do not overlap.
TEXTS = """() => {
  const svg = document.querySelector("svg"), frame = svg.getBoundingClientRect(), found = [], faults = [];
  for (const text of svg.querySelectorAll('g[id^="text_"]')) {
    const drawn = [...text.children].find((child) => child.tagName === "g"), box = drawn?.getBBox();
    if (!box?.width) continue;
    const turn = drawn.getScreenCTM(), words = [...text.childNodes].find((node) => node.nodeType === 8);
    const at = (x, y) => { const point = new DOMPoint(x, y).matrixTransform(turn); return [point.x, point.y]; };
    found.push({ words: words?.textContent.trim() ?? text.id, corners: [at(box.x, box.y), at(box.x + box.width, box.y),
      at(box.x + box.width, box.y + box.height), at(box.x, box.y + box.height)] });
  }
  const apart = (a, b) => [a, b].some((shape) => shape.some(([x, y], i) => {
    const [u, v] = shape[(i + 1) % 4], across = v - y, down = x - u, size = Math.hypot(across, down) || 1;
    const along = (points) => points.map(([p, q]) => (p * across + q * down) / size);
    const [one, other] = [along(a), along(b)];
    return Math.max(...one) - 0.5 <= Math.min(...other) || Math.max(...other) - 0.5 <= Math.min(...one);
  }));
  found.forEach(({ words, corners }, i) => {
    if (corners.some(([x, y]) => x < frame.left - 0.6 || x > frame.right + 0.6 || y < frame.top - 0.6 || y > frame.bottom + 0.6))
      faults.push(`cut: ${words}`);
    found.slice(i + 1).forEach((other) => apart(corners, other.corners) || faults.push(`${words} | ${other.words}`));
  });
  return faults;
}"""


def crowded(browser: Any, figures: list[Path]) -> dict[str, list[str]]:
    """Texts of SVG figures that lie over one another, or beyond the edge."""
    page = browser.new_page(viewport={"width": DESKTOP, "height": 2000})
    faults = {}
    for figure in figures:
        page.goto(figure.resolve().as_uri())
        if found := page.evaluate(TEXTS):
            faults[f"{figure.parent.name}/{figure.name}"] = found
    return faults


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
