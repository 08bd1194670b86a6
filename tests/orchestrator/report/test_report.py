import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from orchestrator.report import chart, render, text
from tests.orchestrator.report.examples import HOSTILE, PICK, curve, image, png, report, row, without_images

NAN, INF = math.nan, math.inf
VOID = {"meta", "img", "input", "wbr"}


class Page(HTMLParser):
    """What the page is made of; a tag closed out of turn fails."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]


def numbers(svg: str) -> list[float]:
    """Every coordinate of a drawing, which must be well-formed."""
    tree = ElementTree.fromstring(svg)  # noqa: S314 (our own drawing)
    places = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r")
    single = [element.get(place) for element in tree.iter() for place in places if element.get(place) is not None]
    lines = [point for element in tree.iter() for point in re.split(r"[ ,]", element.get("points", "")) if point]
    return [float(value) for value in [*(value for value in single if value), *lines]]


HARD_CURVES = {
    "ordinary": [0.2, 0.05, 0.01, 0.02],
    "one point": [0.1],
    "constant": [0.1, 0.1, 0.1],
    "zero and below": [0.0, -1.0, 0.1, 0.2],
    "gaps": [0.1, NAN, 0.2, INF, 0.05, 0.04],
    "extremes": [1e300, 1e-300, 0.1, 1e11, 1e-11],
    "tiny and near": [2.00001e-7, 2.00002e-7, 2.00003e-7],
}


@pytest.mark.parametrize("held_out", HARD_CURVES.values(), ids=HARD_CURVES.keys())
@pytest.mark.parametrize("stop", [-5, 0, 7, 20, 10**9])
def test_a_drawing_has_only_finite_coordinates_inside_its_frame(held_out: list[float], stop: int) -> None:
    for svg in (
        chart.held_out_chart([curve(held_out, stop=stop)], "a"),
        chart.psnr_chart([curve(held_out, held_out, stop=stop)], "b"),
    ):
        assert svg is not None
        found = numbers(svg)
        assert all(math.isfinite(value) and 0 <= value <= chart.WIDTH for value in found)
        assert re.search(r"nan|inf\b", svg) is None


@pytest.mark.parametrize("held_out", [[], [NAN, NAN], [INF], [0.0, -1.0]])
def test_nothing_is_drawn_where_nothing_can_be(held_out: list[float]) -> None:
    assert chart.held_out_chart([curve(held_out)], "a") is None
    assert chart.held_out_chart([], "a") is None
    assert chart.psnr_chart([curve([0.1], None)], "a") is None
    assert chart.psnr_chart([curve([0.1], [NAN])], "a") is None


def test_lists_of_unequal_length_are_drawn_as_far_as_both_go() -> None:
    short = replace(curve([0.2, 0.1, 0.05]), iterations=[0, 10])
    assert chart.held_out_chart([short], "a") is not None


def test_a_gap_breaks_the_line_and_a_lone_point_is_a_dot() -> None:
    svg = chart.held_out_chart([curve([0.1, 0.2, NAN, 0.3, NAN, 0.1, 0.2], stop=0)], "a")
    assert svg is not None
    assert svg.count("<polyline") == 2
    assert svg.count('class="lone"') == 1


def test_the_stop_lies_on_the_line_even_if_its_iteration_was_thinned_away() -> None:
    line = chart._line(replace(curve([0.1, 0.001]), stop_iteration=5), 0, [0.1, 0.001], chart._log_of_error)
    assert line.stop is not None
    assert line.stop == pytest.approx((5, -2))


def test_a_stop_beyond_what_was_measured_is_not_marked() -> None:
    svg = chart.held_out_chart([curve([0.1, 0.2], stop=11)], "a")
    assert svg is not None
    assert 'class="stop"' not in svg


@pytest.mark.parametrize(
    ("low", "high"), [(1e-9, 1e3), (1e-3, 1e-1), (0.01, 0.12), (0.002, 0.009), (0.01, 0.0101), (1e-7, 1.2e-7), (1, 1)]
)
def test_the_ticks_of_errors_are_few_distinct_and_true(low: float, high: float) -> None:
    start, end, ticks = chart._log_span(math.log10(low), math.log10(high))
    labels = [label for _, label in ticks]
    assert 2 <= len(ticks) <= 9
    assert len(set(labels)) == len(labels)
    for value, label in ticks:
        assert start <= value <= end
        mantissa, _, power = label.partition("×10")
        plain = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        shown = float(mantissa.replace(",", "")) * 10 ** int(plain or 0)
        assert math.log10(shown) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(("low", "high"), [(10, 34), (25.0, 25.0), (-3, 4), (26.91, 27.02)])
def test_the_ticks_of_decibels_are_few_distinct_and_evenly_spread(low: float, high: float) -> None:
    _, _, ticks = chart._decibel_span(low, high)
    steps = [b[0] - a[0] for a, b in pairwise(ticks)]
    assert 3 <= len(ticks) <= 8
    assert len({label for _, label in ticks}) == len(ticks)
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_a_fit_of_one_iteration_has_no_fractions_of_iterations_on_its_axis() -> None:
    svg = chart.held_out_chart([curve([0.1], stop=0)], "a")
    assert svg is not None
    assert re.findall(r'class="tick x"[^>]*>([^<]*)<', svg) == ["0", "1"]


def test_a_drawing_tells_where_each_fit_stopped_and_escapes_its_label() -> None:
    svg = chart.held_out_chart([curve([0.2, 0.05, 0.01, 0.02], label="<b>&")], "a")
    assert svg is not None
    assert "&lt;b&gt;&amp;: stopped at iteration 20, 0.010000." in svg


@pytest.mark.parametrize("referenced", [True, False])
def test_the_page_is_well_formed_with_unique_ids_and_only_inner_links(referenced: bool) -> None:
    page = Page(render(report(referenced=referenced)))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.tags:
        named = (attributes.get("aria-labelledby") or "").split()
        assert set(named) <= set(ids)
        if "href" in attributes:
            assert (attributes["href"] or "").removeprefix("#") in ids


@pytest.mark.parametrize("referenced", [True, False])
def test_the_page_asks_nothing_of_any_network(referenced: bool) -> None:
    html = render(report(referenced=referenced))
    page = Page(html)
    assert "http" not in html.replace("http-equiv", "")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|<link|<base|<iframe|srcset", html)
    for _, attributes in page.tags:
        assert (attributes.get("src") or "data:").startswith("data:")
    assert page.all("meta")[1] == {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
    }


def test_a_hostile_name_stays_text_wherever_it_is_shown() -> None:
    hostile = replace(
        report(image(HOSTILE)),
        run="</title><script>alert(1)</script>",
        state='"><script>alert(2)</script>',
        created="<svg onload=alert(3)>",
        version="<i>",
        settings={"<u>": {"</code><script>": "</details>"}},
    )
    page = Page(render(hostile))
    assert len(page.all("script")) == 1
    assert {(attributes["src"] or "")[:22] for attributes in page.all("img")} == {"data:image/png;base64,"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert {tag for tag, _ in page.tags}.isdisjoint({"i", "u", "b"})


def test_characters_that_mislead_or_cannot_be_encoded_are_spelled_out() -> None:
    html = render(report())
    html.encode("utf-8")
    assert "\u202e" not in html
    assert all(spelled in Page(html).words for spelled in ("\\n", "\\u202e", "\\x80"))
    assert text.name("a\nb") == "a\\nb"
    assert text.name("Zelle ü 細胞.png") == "Zelle ü 細胞.png"


def test_what_is_unknown_is_a_dash_and_never_a_word_of_the_machine() -> None:
    page = Page(render(report(image("a.png"))))
    assert "–" in [part.strip() for part in page.texts]
    assert re.search(r"\b(None|nan|inf|undefined)\b", page.words.replace("null", "")) is None


def test_a_row_without_any_figures_is_shown_with_dashes_and_its_reason() -> None:
    bare = replace(report(), rows=[{"image": "x.png", "state": "failed", "reason": "It broke."}], images=())
    words = Page(render(bare)).words
    assert "It broke." in words
    assert "No image was restored." in words


def test_rejected_and_failed_rows_tell_their_reason() -> None:
    words = Page(render(report())).words
    assert "The file ends <early>." in words
    assert "The worker ran out of memory." in words


def test_with_references_the_summary_tells_the_mean_gain() -> None:
    words = Page(render(report())).words
    assert "+7.25 dB mean PSNR gain: from 20.25 to 27.50 dB." in words
    assert "2 of 2 pictures came closer to their reference." in words


def test_without_references_the_page_says_so_and_shows_no_empty_psnr_columns() -> None:
    html = render(report(referenced=False))
    page = Page(html)
    assert "There were no reference pictures, so there is no PSNR." in page.words
    assert "it may be compared only within one image" in page.words
    assert "ideal stop" not in page.words.lower()
    assert html.count('<svg class="chart"') == 2


def test_the_gain_counts_only_pictures_with_a_reference_and_finite_figures() -> None:
    mixed = report(image("a.png"), image("b.png", referenced=False))
    equal = row("same.png", psnr_degraded=20.0, psnr=INF)
    words = Page(render(replace(mixed, rows=[*mixed.rows, equal]))).words
    assert "+7.25 dB mean PSNR gain" in words
    assert "2 more had no reference" in words
    assert "∞" in words


def test_two_methods_are_counted_as_results_and_each_has_its_own_gain() -> None:
    both = image("a.png")
    both = replace(both, rows=[*both.rows, {**both.rows[0], "arm": "fixed", "psnr": 26.25}])
    words = Page(render(report(both))).words
    assert "an image restored by two methods counts twice" in words
    assert "mean PSNR gain of “fixed”" in words
    assert "+6.00 dB" in words


def test_the_pick_is_marked_among_its_candidates() -> None:
    html = render(report(image("a.png")))
    picked = re.findall(r'<tr class="picked">.*?</tr>', html, re.DOTALL)
    assert len(picked) == 1
    assert PICK in picked[0]
    assert "picked" in picked[0]


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_are_not() -> None:
    small = render(report(replace(image(), degraded=png(64, 48), restored=png(64, 48), mean=None, reference=None)))
    assert "--w: 640px; --ratio: 64 / 48" in small
    assert 'class="compare pixels"' in small
    large = render(report(replace(image(), degraded=png(900, 600), restored=png(900, 600), mean=None, reference=None)))
    assert "--w: 900px; --ratio: 900 / 600" in large
    assert 'class="compare"' in large


def test_an_image_may_have_one_picture_or_none() -> None:
    alone = replace(image(), restored=None, mean=None, reference=None)
    assert "divider" not in {a.get("class") for a in Page(render(report(alone))).all("input")}
    nothing = replace(alone, degraded=None, curves=[], cohort=[], rows=[row("a", state="failed", reason="Why.")])
    assert "No picture of this image was kept." in Page(render(report(nothing))).words


def test_something_that_is_no_png_is_refused_with_the_name_of_its_image() -> None:
    with pytest.raises(ValueError, match=r"cells/a\.png.*is not a PNG"):
        render(report(replace(image(), restored=b"GIF89a")))


def test_images_without_pictures_are_counted() -> None:
    assert "2 images have their results in the table above" in Page(render(without_images(report()))).words


def test_an_empty_run_has_a_page_too() -> None:
    empty = replace(report(), rows=[], images=(), left_out=0, settings={}, seconds=None)
    words = Page(render(empty)).words
    assert "This run has no results yet." in words
    assert "No settings were recorded." in words


def test_every_field_has_a_label_and_every_heading_cell_a_scope() -> None:
    page = Page(render(report()))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes.get("aria-label") for attributes in page.all("input"))
    assert len(page.all("h1")) == 1


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.7, "1 min 00 s"), (3599.6, "1 h 00 min"), (200000, "2 d 7 h"), (-1, "–")],
)
def test_durations_are_told_in_two_units(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.009612, "0.009612"),
        (2.134e-5, "2.13×10⁻⁵"),
        (0.0, "0.000000"),
        (NAN, "–"),
        (None, "–"),
        (INF, "∞"),
        ("x", "–"),
    ],
)
def test_errors_keep_their_digits_however_small(value: object, shown: str) -> None:
    assert text.error(value) == shown


def test_gains_are_signed_and_a_difference_that_rounds_to_nothing_is_not() -> None:
    assert [text.gain(value) for value in (1.234, -1.234, 0.001, -0.001)] == ["+1.23", "−1.23", "0.00", "0.00"]


def test_times_are_told_in_universal_time_and_odd_ones_as_they_are() -> None:
    assert text.when("2026-05-09T16:03:00+02:00") == "9 May 2026, 14:03 UTC"
    assert text.when("2026-05-09T14:03:00") == "9 May 2026, 14:03 UTC"
    assert text.when("yesterday") == "yesterday"
