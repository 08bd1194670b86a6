import math
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from orchestrator.figures.study import HELD_OUT, CohortSize, Study, Table, Tau, cohort_sizes_of, tau_of
from orchestrator.report.study import page as page_of_study
from orchestrator.report.study import scatter
from orchestrator.report.study.page import render_study, write_study_page
from orchestrator.run.attempt import RunState
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.store import open_store
from tests.orchestrator.report.examples import HOSTILE
from tests.orchestrator.report.test_report_in_a_browser import ARGUMENTS, FOUND

METRICS = (
    "psd db strip mse",
    "psd strip hist emd",
    "psd 99_per_bw",
    "task loss",
    "psd db mse",
    "nodc psd db mse",
    "mine:f",
)
VOID = {"meta", "line", "path", "polyline", "circle", "wbr"}


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "task": {"name": "denoise", "sigma": None},
        "score": {"metric": "psd db strip mse", "candidates": [f"{place}-0" for place in range(30)]},
        "cohort": {"size": 15},
        **changes,
    }


def record(**changes: Any) -> RunRecord:
    config = settings(**changes)
    return RunRecord("nas-7", "2026-05-09T14:03:22Z", 2, 0, True, config, {}, state=RunState.FINISHED, seconds=7200)


def table(
    images: Mapping[str, int], *, failed: float = 0.0, metrics: tuple[str, ...] = METRICS, seed: int = 0
) -> Table:
    """``images`` by candidates; every metric predicts a little, the first the most."""
    random = np.random.default_rng(seed)
    names = [name for name, count in images.items() for _ in range(count)]
    true = 27 - np.abs(random.normal(0, 2, len(names)))
    best = np.where(random.random(len(names)) < failed, math.nan, true)
    return Table(
        image=np.array(names, dtype=np.str_),
        candidate=np.array([f"{place}-0" for count in images.values() for place in range(count)], dtype=np.str_),
        psnr_oracle_stop=best,
        psnr=best - 0.2,
        held_out_error=10 ** (-best / 10),
        scores={metric: random.normal(0, 2 + at, len(names)) - true for at, metric in enumerate(metrics)},
    )


def study_of(table: Table) -> Study:
    """The figures of a table, with intervals that need no resampling."""
    taus = []
    for name in table.predictors:
        rows = [table.of(image) for image in table.images]
        own = [
            Tau(name, str(of.image[0]), len(of.image), tau, tau - 0.05, tau + 0.05)
            for of in rows
            if len(of.image) > 1
            for tau in [tau_of(of.predictors[name], of.psnr_oracle_stop)]
        ]
        known = [tau.tau for tau in own if math.isfinite(tau.tau)]
        if known:
            ends = (-0.9, 0.1) if len(known) > 1 else (None, None)
            taus.append(Tau(name, None, 0, float(np.mean(known)), *ends))
        taus += own
    return Study(len(table.images), len(set(table.candidate.tolist())), taus, cohort_sizes_of(table))


class Outline(HTMLParser):
    """Checks that every tag is closed, and keeps ids, references and texts by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.referred: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.referred += (found.get("aria-labelledby") or "").split()
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def rendered(table: Table, **changes: Any) -> str:
    return render_study(record(**changes), table, study_of(table))


def panels(page: str) -> list[tuple[str, str]]:
    """The titles of the scatter plots and their taus, in order."""
    return re.findall(r'<figcaption><span>(.*?)</span><span class="tau">τ (.*?)</span>', page)


def points(page: str, ident: str) -> tuple[int, int]:
    """How many dots of a scatter plot are plain, and how many in colour."""
    plot = page[page.index(f'<title id="{ident}-t"') :].split("</svg>", maxsplit=1)[0]
    counts = dict(re.findall(r'<path class="points[ few]*?( listed c0)?" d="(.*?)"', plot))
    return counts[""].count("M"), counts[" listed c0"].count("M")


def lines(page: str) -> list[str]:
    """The predictors, in the order of their lines."""
    body = page[page.index('class="predictors"') :].split("</table>", maxsplit=1)[0]
    return re.findall(r'<th scope="row">(.*?)(?: <|<)', body)


@pytest.fixture(scope="module")
def usual() -> str:
    return rendered(table({"a.png": 40, "b.png": 40, HOSTILE: 40}, failed=0.1))


def test_the_page_lies_beside_the_studys_files(tmp_path: Path) -> None:
    store, found = open_store(str(tmp_path)), table({"a.png": 5})
    write_study_page(store, record(), found, study_of(found))
    assert store.get(RunLayout("nas-7").study("index.html")).decode() == rendered(found)


@pytest.mark.parametrize("images", [{}, {"a.png": 1}, {"a.png": 5}, {"a.png": 12, "b": 3, "c": 1}])
@pytest.mark.parametrize("failed", [0, 0.3, 1])
def test_every_page_is_whole_and_its_drawings_are_named(images: dict[str, int], failed: float) -> None:
    outline = Outline(rendered(table(images, failed=failed)))
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.referred) <= set(outline.ids)
    drawings = [attributes for tag, attributes in outline.tags if tag == "svg"]
    assert all(attributes.get("role") == "img" or attributes.get("aria-hidden") == "true" for attributes in drawings)
    named = sum(attributes.get("role") == "img" for attributes in drawings)
    assert outline.count("title") == 1 + named
    assert outline.count("table") == outline.count("caption")


@pytest.mark.parametrize("images", [{"a.png": 5}, {"a.png": 12, "b": 3}])
def test_no_page_says_nan_or_none(images: dict[str, int]) -> None:
    found = table(images, failed=0.2)
    found.scores["mine:f"][:] = math.nan
    found.held_out_error[0] = math.nan
    told = " ".join(text for tag, text in Outline(rendered(found)).texts if tag != "style")
    assert not re.search(r"\b(nan|None|inf)\b", told)


def test_nothing_is_asked_of_any_network_and_nothing_runs(usual: str) -> None:
    outline = Outline(usual)
    linked = [value for _, found in outline.tags for key, value in found.items() if key in ("href", "src")]
    assert set(linked) == {"table.csv", "table.parquet", "study.json"}
    assert "url(" not in usual
    assert "@import" not in usual
    assert "script" not in {tag for tag, _ in outline.tags}
    assert "default-src 'none'" in usual


def test_a_hostile_name_is_only_text(usual: str) -> None:
    assert "img" not in {tag for tag, _ in Outline(usual).tags}
    assert "&lt;img src=x" in usual
    assert "\u202e" not in usual
    usual.encode()


def test_hostile_metrics_are_only_text() -> None:
    page = rendered(table({"a.png": 5}, metrics=("<script>alert(1)</script>",)))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_summary_tells_of_the_images_candidates_and_failed_fits() -> None:
    found = table({"a.png": 30, "b.png": 30}, failed=0.2)
    page = rendered(found)
    failures = int(np.isnan(found.psnr_oracle_stop).sum())
    assert failures > 0
    for term, number in (("images", 2), ("candidates", 30), ("fits without a PSNR", failures)):
        assert f"<dt>{term}</dt><dd>{number}</dd>" in page
    assert "task: denoise" in page
    assert "took 2 h 00 min" in page


def test_the_predictors_are_ordered_by_their_mean_after_the_held_out_error() -> None:
    found = table({"a.png": 60, "b.png": 60})
    means = {tau.predictor: tau.tau for tau in study_of(found).taus if tau.image is None}
    metrics = sorted(found.scores, key=lambda name: means[name])
    page = rendered(found)
    assert lines(page) == [HELD_OUT, *metrics]
    assert f"<strong>{metrics[0]}</strong> foretells best" in page


def test_a_predictor_without_a_tau_comes_last_with_a_dash() -> None:
    found = table({"a.png": 20, "b.png": 20})
    found.scores["psd db strip mse"][:] = 1.0
    found.scores["task loss"][:20] = 1.0
    page = rendered(found)
    assert lines(page)[-1] == "psd db strip mse"
    assert "psd db strip mse: unknown" in page
    # One of two images has a tau for the task loss.
    assert page.count("<small>of 1</small>") == 1


def test_the_interval_is_drawn_where_it_is_and_the_images_under_it() -> None:
    found = table({"a.png": 4}, metrics=())
    taus = [Tau(HELD_OUT, None, 8, -0.5, -1.0, 0.5), Tau(HELD_OUT, "a.png", 4, -1.0, None, None)]
    page = render_study(record(), found, Study(1, 4, [*taus, Tau(HELD_OUT, "b", 4, 0.0, None, None)], []))
    # From -1 at 10 to +1 at 230.
    assert '<line class="bar95" x1="10.0" x2="175.0"' in page
    assert '<circle class="dot" cx="65.0"' in page
    assert 'd="M10.0 20.0h0M120.0 20.0h0"' in page
    assert "<title>held-out error: −0.50, 95 % interval −1.00 to +0.50</title>" in page
    assert "75\u00a0%" in page


def test_one_image_has_no_interval_over_images_and_the_page_says_so() -> None:
    page, more = rendered(table({"a.png": 12})), rendered(table({"a.png": 12, "b.png": 12}))
    said = "One image has no such interval"
    assert (said in page, said in more) == (True, False)
    assert ('class="bar95"' in page, 'class="bar95"' in more) == (False, True)
    assert "Few images prove nothing" in page


def test_the_curve_names_few_metrics_and_the_table_has_all() -> None:
    page = rendered(table({"a.png": 40, "b.png": 40}))
    legend = page[page.index('aria-label="Legend"') :].split("</ul>")[0]
    named = re.findall(r'<li class="(.*?)">.*?<span>(.*?) <span class="quiet">(.*?)</span>', legend)
    assert named == [
        ("random", "at random", "best of the K, as expected"),
        ("c0 lead", "psd db strip mse", "best of the K"),
        ("c0 dashed", "psd db strip mse", "picked blind from the K"),
        ("c1", "psd strip hist emd", "best of the K"),
        ("c2", "psd 99_per_bw", "best of the K"),
        ("c3", "task loss", "best of the K"),
    ]
    assert "3 other metrics" in legend
    figures = page[page.index('aria-label="Mean PSNR by K"') :].split("</table>")[0]
    assert figures.count('<th scope="row"') == 2 + len(METRICS)


def test_the_settings_metric_leads_whichever_it_is() -> None:
    page = rendered(table({"a.png": 20}), score={"metric": "mine:f", "candidates": 20})
    assert re.findall(r'<li class="c0 lead">.*?<span>(.*?) <', page) == ["mine:f"]
    assert re.findall(r'<th scope="row">(.*?) <span class="pick">', page) == ["mine:f"]
    # A missing metric is never first.
    assert "lead" not in re.findall(r'<li class="(.*?)"', rendered(table({"a.png": 20}), score={"metric": "random"}))


def test_the_curve_lies_where_the_figures_are() -> None:
    sizes = [CohortSize(None, size, best, None) for size, best in ((1, 20.0), (10, 25.0), (100, 30.0))]
    page = render_study(record(), table({"a.png": 4}), Study(1, 4, [], sizes))
    (steps,) = re.findall(r'<g class="random"><polyline class="curve" points="(.*?)"', page)
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, step.split(","))) for step in steps.split()]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert (y0 > y1, x0 < x1) == (True, True)
    assert "at random, best of the K, as expected: 20.00 dB at K = 1, 30.00 dB at K = 100." in page


def test_the_summary_compares_the_shortlist_with_as_many_at_random() -> None:
    sizes = [CohortSize(None, size, 20.0 + size, None) for size in (1, 10, 22)]
    sizes += [CohortSize("psd db strip mse", size, 21.0 + size, 19.5 + size) for size in (1, 10, 22)]
    found, said = (
        table({"a.png": 30}),
        r"The best of (\d+) at random comes to ([\d.]+) dB.*?to ([\d.]+) dB.*?to ([\d.]+) dB",
    )
    page = render_study(record(), found, Study(1, 30, [], sizes))
    assert re.findall(said, page) == [("10", "30.00", "31.00", "29.50")]
    # Where all are on the shortlist there is nothing to compare.
    page = render_study(record(cohort={"size": 22}), found, Study(1, 30, [], sizes))
    assert re.findall(said, page) == []


def test_each_image_has_its_scatter_plots_those_of_interest_first() -> None:
    found = table({"a.png": 20, "b.png": 20})
    page = rendered(found)
    order = [HELD_OUT, *METRICS]
    assert [name for name, _ in panels(page)] == order * 2
    assert panels(page)[0] == (HELD_OUT, "−1.00")
    assert page.count("<summary>3 other predictors</summary>") == 2


def test_the_shortlist_is_in_colour_where_there_are_more_candidates() -> None:
    page = rendered(table({"a.png": 40, "b.png": 15}))
    assert points(page, "scatter-1-1") == (25, 15)
    assert points(page, "scatter-2-1") == (15, 0)


def test_the_shortlist_are_the_lowest_ranks() -> None:
    page = rendered(table({"a.png": 40}), cohort={"size": 10})
    plot = page[page.index('<title id="scatter-1-1-t"') :].split("</svg>", maxsplit=1)[0]
    plain, listed = (
        [float(x) for x in re.findall(r"M([\d.]+) ", dots)]
        for dots in re.findall(r'<path class="points.*?" d="(.*?)"', plot)
    )
    assert (len(listed), max(listed) < min(plain)) == (10, True)


def test_of_equal_scores_as_many_are_in_colour_as_are_shortlisted() -> None:
    found = table({"a.png": 40})
    found.scores["psd db strip mse"][:] = 1.0
    assert points(rendered(found), "scatter-1-1") == (25, 15)


def test_only_what_is_known_is_drawn() -> None:
    found = table({"a.png": 40})
    found.psnr_oracle_stop[:4] = math.nan
    found.scores["psd db strip mse"][2:6] = math.nan
    found.scores["psd strip hist emd"][:] = math.nan
    page = rendered(found)
    assert points(page, "scatter-1-1") == (34 - 15, 15)
    assert points(page, "scatter-1-2") == (0, 0)
    assert "Fits with a PSNR: 36 of 40." in page


def test_the_best_network_is_drawn_highest_and_the_lowest_rank_leftmost() -> None:
    found = table({"a.png": 4}, metrics=())
    found.psnr_oracle_stop[:] = [20, 22, 21, 30]
    found.held_out_error[:] = [4, 3, 2, 1]
    (dots,) = re.findall(r'<path class="points few" d="(.+?)"', rendered(found))
    places = [tuple(map(float, dot.split())) for dot in re.findall(r"M([\d.]+ [\d.]+)h0", dots)]
    assert sorted(range(4), key=lambda at: places[at][0]) == [3, 2, 1, 0]
    assert sorted(range(4), key=lambda at: places[at][1]) == [3, 1, 2, 0]


def test_a_large_study_is_a_page_that_a_browser_opens() -> None:
    page = rendered(table({f"{place}.png": 522 for place in range(15)}))
    assert len(page) < 5e6
    assert points(page, "scatter-15-7") == (522 - 15, 15)


def test_of_very_many_points_some_are_drawn_with_the_best_and_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter, "POINTS", 50 * (1 + len(METRICS)))
    found = table({"a.png": 400})
    page = rendered(found)
    plain, listed = points(page, "scatter-1-1")
    assert listed == 15
    assert 35 <= plain <= 50
    plot = page[page.index('<title id="scatter-1-1-t"') :].split("</svg>")[0]
    heights = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h0", plot)]
    # The best and the worst span the height but for 5 % of air at either end, as they would among all.
    assert max(heights) - min(heights) == pytest.approx(114 / 1.1, abs=0.2)
    assert rendered(found) == page


def test_of_very_many_images_the_first_have_columns_and_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_of_study, "MOST_IMAGES", 2)
    page = rendered(table({f"{place}.png": 6 for place in range(5)}))
    assert page.count("<article") == 2
    assert page.count('class="number image"') == 2
    assert "The first 2 of 5 images." in page
    assert "3 more images are in the means" in page


def test_an_image_with_one_fit_is_named_without_drawings() -> None:
    page = rendered(table({"a.png": 6, "b.png": 1}))
    assert page.count("<article") == 2
    assert "Fits with a PSNR: 1 of 1. That is too few to compare." in page


@pytest.mark.parametrize(
    ("images", "failed", "said"), [({}, 0, "No image is done yet"), ({"a.png": 4}, 1, "No fit has a PSNR")]
)
def test_a_study_without_figures_says_why(images: dict[str, int], failed: float, said: str) -> None:
    page = rendered(table(images, failed=failed))
    assert said in page
    assert "<svg" not in page


def test_a_long_list_of_candidates_is_told_by_its_length(usual: str) -> None:
    assert "<dt>candidates</dt><dd><code>a list of 30</code></dd>" in usual
    assert "<dt>sigma</dt><dd><code>null</code></dd>" in usual


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=FOUND, args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.mark.skipif(FOUND is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_in_a_browser_the_page_is_silent_and_never_scrolls_sideways(
    browser: Browser, tmp_path: Path, usual: str, width: int, scheme: Any
) -> None:
    path = tmp_path / "index.html"
    path.write_text(usual, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (said, asked) == ([], [path.as_uri()])
    page.close()
