"""Pages of a small run in a browser: links, figures, the table, and a fit that did not converge."""

from __future__ import annotations

from pathlib import Path

import pytest
from workflow.browser import Seen, check_run, chromium, watched
from workflow.test_runs import clone, finished, snakemake, where

from emtools.report.glance import curve, read_fit

__all__ = ["clone", "finished"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(clone: Path, finished: Path) -> Path:
    """A run of three fits, one of them not converged, with the reports of Snakemake and MultiQC."""
    folder = finished / "results"
    report = snakemake(finished, *where(clone), "--report", str(folder / "snakemake_report.html"))
    assert report.returncode == 0, report.stdout + report.stderr
    return folder


def test_every_link_figure_and_heading_of_a_run_works(results: Path) -> None:
    seen = check_run(results)
    names = sorted(path.name for path in seen.pages)
    assert names == ["index.html", "multiqc_report.html", "report.html", "report.html", "report.html", "snakemake_report.html"]  # fmt: skip
    assert seen.enlarged == 3


def test_the_climb_is_read_pass_by_pass_with_the_keyboard(results: Path) -> None:
    path = next(
        path for path in sorted(results.rglob("report.html")) if "data-climb" in path.read_text(encoding="utf-8")
    )
    climb = curve(read_fit(path.with_name("fit.json")))
    with chromium() as browser:
        seen = Seen()
        page = watched(browser, seen)
        page.goto(path.as_uri())
        slider, told = page.get_by_role("slider"), page.locator("p.climb output")
        slider.focus()
        for key, (number, below) in (("Home", climb[0]), ("ArrowRight", climb[1]), ("End", climb[-1])):
            page.keyboard.press(key)
            words = told.inner_text()
            assert words.startswith(f"pass {number} of {climb[-1][0]}: ")
            assert float(words.split(": ")[1].split(" ")[0]) == pytest.approx(below, rel=5e-3)
            assert slider.get_attribute("aria-valuetext") == words
    assert seen.errors == []


def test_a_fit_that_did_not_converge_is_on_top_of_the_page(results: Path) -> None:
    with chromium() as browser:
        page = watched(browser, Seen())
        page.goto((results / "index.html").as_uri())
        alarm = page.get_by_role("alert")
        assert "1 of 3 fits did not converge" in alarm.inner_text()
        place = alarm.bounding_box()
        assert place["y"] + place["height"] < 900
        assert "1 not converged" in page.title()
        alarm.get_by_role("link").click()
        assert page.locator("section:target").get_attribute("class") == "card bad-card"
