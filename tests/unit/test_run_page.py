"""The page of a run: verdicts at a glance, nothing hidden, and files that MultiQC reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emtools.cli import main
from emtools.errors import InputError
from emtools.report.glance import curve
from emtools.report.page import joined
from emtools.report.run import cost_of, costs_of, judge, multiqc_tables, read_card


def record(status: str = "converged", hits: tuple[int, ...] = (1, 1), rate: float | None = 0.5) -> dict[str, Any]:
    heights = [-9.0, -5.0, -4.5]
    return {
        "branch": "hmm",
        "model": {"name": "categorical_hmm", "n_states": 2},
        "status": status,
        "verdict": "Said <in> one sentence.",
        "loglik": -4.5,
        "objective": -4.5,
        "gap": 1e-7,
        "rate": rate,
        "passes": 6,
        "starts": [
            {"restart": i, "optimum": hit, "objective": -4.5 if hit == 1 else -6.0} for i, hit in enumerate(hits)
        ],
        "trace": [{"restart": 0, "pass": i, "objective": height} for i, height in enumerate(heights)],
        "accuracy": [
            {"method": "ours", "metric": "NRMSE", "value": 0.25},
            {"method": "ours", "metric": "NRMSE bmi", "value": 0.5},
            {"method": "mean", "metric": "NRMSE", "value": 1.0},
        ],
    }


def write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "color", "words"),
    [
        (record(), "good", "converged"),
        (record(hits=(1,)), "good", "converged"),
        (record(hits=(1, 2, 2)), "warn", "converged; found by 1 of 3 starts"),
        (record() | {"certificate": {"kind": "flat"}}, "warn", "converged; not all identified"),
        (record("saddle"), "bad", "not converged: saddle"),
        (record("budget"), "bad", "not converged: out of passes"),
        (record("decreased"), "bad", "not converged: decreased"),
    ],
)
def test_traffic_light(content: dict[str, Any], color: str, words: str) -> None:
    light = judge(content)
    assert (light.color, light.words) == (color, words)


def test_a_later_motif_that_is_not_converged_is_not_overlooked() -> None:
    content = record("converged", hits=(1, 1))
    content["extra"] = {"motifs": [{"name": "m_1", "status": "converged"}, {"name": "m_2", "status": "budget"}]}
    light = judge(content)
    assert (light.color, light.words) == ("bad", "not converged: m_2")


def test_a_fit_whose_starts_all_ran_out_of_passes_has_a_curve() -> None:
    content = record("budget", hits=(1,))
    content["starts"][0]["optimum"] = None
    assert [point[0] for point in curve(content)] == [1, 2, 3]


def test_curve_ends_at_the_gap_of_the_best_start() -> None:
    content = record(hits=(1, 2))
    content["trace"].append({"restart": 1, "pass": 0, "objective": -8.0})
    assert np.allclose(curve(content), [[1, 4.5 + 1e-7], [2, 0.5 + 1e-7], [3, 1e-7]], rtol=1e-8, atol=0)
    content["trace"] = [{"restart": 0, "pass": i, "objective": -4.5 - 1.0 / (i + 1)} for i in range(5000)]
    thinned = curve(content)
    assert len(thinned) < 500
    assert thinned[-1][0] == 5000


def test_page_counts_what_did_not_converge_and_escapes(tmp_path: Path) -> None:
    good = write(tmp_path / "hmm" / "good" / "fit.json", record())
    bad = write(tmp_path / "hmm" / "bad" / "fit.json", record("budget"))
    assert main(["summary", str(good), str(bad), "--out", str(tmp_path), "--multiqc", "multiqc/report.html"]) == 0
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "1 of 2 fits did not converge" in html
    assert "Said &lt;in&gt; one sentence." in html
    assert 'href="multiqc/report.html"' in html
    table = [line.split("\t") for line in (tmp_path / "runs.tsv").read_text().splitlines()]
    assert [row[0] for row in table] == ["verdict", "converged", "not converged: out of passes"]
    fits = json.loads((tmp_path / "multiqc" / "emtools_fits_mqc.json").read_text())
    assert fits["data"]["hmm bad"]["verdict"] == "not converged: out of passes"
    first = (tmp_path / "index.html").read_bytes()
    assert main(["summary", str(good), str(bad), "--out", str(tmp_path), "--multiqc", "multiqc/report.html"]) == 0
    assert (tmp_path / "index.html").read_bytes() == first


def test_a_card_says_what_was_found_and_no_number_of_a_fit_that_did_not_converge(tmp_path: Path) -> None:
    found = {"answer": "A <motif> in 16 % of them, no better than chance."}
    good = write(tmp_path / "motif" / "good" / "fit.json", record() | found)
    bad = write(tmp_path / "motif" / "bad" / "fit.json", record("budget") | found)
    assert main(["summary", str(good), str(bad), "--out", str(tmp_path)]) == 0
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert html.count("A &lt;motif&gt; in 16\N{NO-BREAK SPACE}% of them, no better than chance.") == 1
    card = html.split('id="hmm-good"')[1].split("</section>")[0]
    assert card.index("A &lt;motif&gt;") < card.index("Said &lt;in&gt; one sentence.")


def test_a_column_that_no_fit_fills_is_left_out(tmp_path: Path) -> None:
    fit = write(tmp_path / "hmm" / "a" / "fit.json", record() | {"accuracy": []})
    assert main(["summary", str(fit), "--out", str(tmp_path)]) == 0
    head, rows = (tmp_path / "index.html").read_text(encoding="utf-8").split("<tbody>")[:2]
    assert "CPU s" not in head
    assert "Accuracy" not in head + rows
    assert head.count('<th scope="col"') == rows.split("</tr>")[0].count("<td") == 9


def test_a_table_of_a_card_that_is_cut_says_so(tmp_path: Path) -> None:
    rows = [{"method": f"method {i}", "metric": "ARI", "value": 0.1 * i} for i in range(10)]
    for name, kept in (("whole", rows[:9]), ("cut", rows), ("no page", rows)):
        fit = write(tmp_path / name / "fit.json", record() | {"accuracy": kept})
        if name != "no page":
            (fit.parent / "report.html").write_text("<!doctype html>")
        assert main(["summary", str(fit), "--out", str(tmp_path / name)]) == 0
        html = (tmp_path / name / "index.html").read_text(encoding="utf-8")
        assert ("More on its page." in html) == (name == "cut")
        assert "method 8" in html


def test_accuracy_of_single_columns_stays_on_the_page_of_the_fit(tmp_path: Path) -> None:
    card = read_card(write(tmp_path / "a" / "fit.json", record()), tmp_path)
    assert card.headline == "NRMSE 0.25"
    assert card.accuracy is not None
    assert card.accuracy.to_numpy().tolist() == [["ours", 0.25], ["mean", 1.0]]
    traces = multiqc_tables([card])["emtools_traces_mqc.json"]["data"]
    assert traces["hmm a"][0] == [1, 4.5 + 1e-7]


def test_a_climb_whose_top_is_not_known_is_drawn_below_its_last_pass(tmp_path: Path) -> None:
    card = read_card(write(tmp_path / "a" / "fit.json", record() | {"gap": None}), tmp_path)
    traces = multiqc_tables([card])["emtools_traces_mqc.json"]
    n_passes = len([row for row in card.record["trace"] if row["restart"] == 0])
    assert [n for n, _ in traces["data"]["hmm a"]] == list(range(1, n_passes))
    assert "nats below the last pass" in traces["description"]


def test_what_a_job_cost_is_read_from_the_benchmark_of_the_workflow(tmp_path: Path) -> None:
    fit = write(tmp_path / "hmm" / "a" / "fit.json", record())
    path = tmp_path / "benchmarks" / "hmm" / "a.tsv"
    assert cost_of(path) == (None, None)
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\tmax_rss\tcpu_time\n33.79\t0:00:33\t222.62\t1234.5\n")
    card = read_card(fit, tmp_path)
    assert (card.row["seconds"], card.row["memory"]) == (1234.5, 222.62)
    assert main(["summary", str(fit), "--out", str(tmp_path)]) == 0
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert '<td data-sort="1234.5">1,234.5</td>' in html
    assert '<td data-sort="222.62">223</td>' in html
    path.write_text("s\tmax_rss\tcpu_time\n0.1\tNA\tNA\n")  # what Snakemake writes of jobs too short to be looked at
    assert cost_of(path) == (None, None)


def test_unknown_numbers_are_shown_as_unknown(tmp_path: Path) -> None:
    content = record("budget") | {"gap": None, "rate": None}
    fit = write(tmp_path / "a" / "fit.json", content)
    assert main(["summary", str(fit), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count("unknown") >= 2


@pytest.mark.parametrize(
    ("text", "found"), [("", "empty"), ("{", "not JSON"), ("[]", "lacks branch"), ('{"branch": "hmm"}', "lacks model")]
)
def test_wrong_fit_file_gives_one_line(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "fit.json"
    path.write_text(text)
    with pytest.raises(InputError, match=found):
        read_card(path, tmp_path)
    assert main(["summary", str(path), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_two_fits_of_one_name_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "x" / "a" / "fit.json", record())
    two = write(tmp_path / "y" / "a" / "fit.json", record())
    assert main(["summary", str(one), str(two), "--out", str(tmp_path / "out")]) == 2


def test_the_figure_of_mixtures_is_their_composition(tmp_path: Path) -> None:
    path = write(tmp_path / "bulk" / "fit.json", record() | {"branch": "deconvolve"})
    for stem in ("convergence", "composition"):
        (path.parent / f"{stem}.png").write_bytes(b"")
    assert read_card(path, tmp_path).figure == "bulk/composition.png"


def test_a_fit_costs_what_the_jobs_of_its_starts_cost_too(tmp_path):
    held = tmp_path / "benchmarks"
    for place, seconds, memory in (
        ("hmm/a", 3.5, 200), ("starts/hmm/a/1-2", 10.25, 300), ("starts/hmm/a/3-4", 20, 250), ("starts/hmm/a/1-3", 99, 999),
        ("starts/hmm/b/1-2", 50, 999), ("starts/motif/a/1-2", 50, 999),
    ):  # fmt: skip
        (held / place).parent.mkdir(parents=True, exist_ok=True)
        (held / f"{place}.tsv").write_text(f"s\tmax_rss\tcpu_time\n1\t{memory}\t{seconds}\n")
    ends = [tmp_path / f"starts/{some}/starts.json" for some in ("hmm/a/1-2", "hmm/a/3-4", "hmm/b/1-2", "motif/a/1-2")]
    assert costs_of("hmm", "a", tmp_path, ends) == (33.75, 300)
    assert costs_of("hmm", "a", tmp_path, []) == (3.5, 200)
    (held / "starts/hmm/a/3-4.tsv").unlink()
    assert costs_of("hmm", "a", tmp_path, ends) == (None, 300), "a sum of which a part is not known is not told"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>95 % of 3 %</p>", "<p>95~% of 3~%</p>"),
        ("<td>50 %</td><td>a %</td><td>7%</td><td>7  %</td>", "<td>50~%</td><td>a %</td><td>7%</td><td>7  %</td>"),
        ("<pre>5 %\n6 %</pre> 7 % <pre>8 %</pre>", "<pre>5 %\n6 %</pre> 7~% <pre>8 %</pre>"),
        (
            "1 % <code>2 %</code> 3 % <code class='word'>4 %</code> 5 %",
            "1~% <code>2 %</code> 3~% <code class='word'>4 %</code> 5~%",
        ),
        ("<codex>1 %</codex> <code>2 %</code>", "<codex>1~%</codex> <code>2 %</code>"),
        ("", ""),
    ],
)
def test_numbers_keep_to_their_per_cent_but_in_code(html: str, expected: str) -> None:
    assert joined(html) == expected.replace("~", "\N{NO-BREAK SPACE}")
