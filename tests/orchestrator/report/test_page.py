import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from orchestrator.report import ArmPictures, ImageReport, RunReport, render, text
from tests.orchestrator.report.examples import (
    HOSTILE,
    NOTE,
    PICK,
    image,
    lottery_report,
    png,
    report,
    row,
    several,
    without_images,
)

NAN, INF = math.nan, math.inf
VOID = {"meta", "img", "input", "wbr"}

REPORTS = {
    "one method": report(),
    "one method, no references": report(referenced=False),
    "three methods": report(several(), several(HOSTILE)),
    "three methods, no references": report(several(referenced=False), referenced=False),
    "lottery tickets": lottery_report(),
}
every_report = pytest.mark.parametrize("found", REPORTS.values(), ids=REPORTS.keys())


class Page(HTMLParser):
    """The parts of the page; a tag closed out of turn fails."""

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


@every_report
def test_the_page_is_well_formed_with_unique_ids_and_only_inner_links(found: RunReport) -> None:
    page = Page(render(found))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.tags:
        named = (attributes.get("aria-labelledby") or "").split()
        assert set(named) <= set(ids)
        if "href" in attributes:
            assert (attributes["href"] or "").removeprefix("#") in ids


@every_report
def test_the_page_asks_nothing_of_any_network(found: RunReport) -> None:
    html = render(found)
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


@every_report
def test_what_is_unknown_is_a_dash_and_never_a_word_of_the_machine(found: RunReport) -> None:
    page = Page(render(found))
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


def cells(html: str, table: str) -> list[list[str]]:
    """The rows of the first table of this label, as words, the heading first."""
    whole = re.search(rf'<span class="hidden">{table}</span>.*?</table>', html, re.DOTALL)
    assert whole is not None
    rows = re.findall(r'<tr class="heads">.*?</tr>|<tbody>|<tr(?: class="picked")?>.*?</tr>', whole[0], re.DOTALL)
    return [
        [" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in re.findall(r"<t[hd] .*?</t[hd]>", row, re.DOTALL)]
        for row in rows
        if row != "<tbody>"
    ]


def counts(html: str) -> str:
    """The numbers of images, each with its state."""
    return " ".join(
        f"{number} {state}" for state, number in re.findall(r"<div[^>]*><dt>(\w+)</dt><dd>(\d+)</dd></div>", html)
    )


def test_images_are_counted_and_not_the_results_of_several_methods() -> None:
    html = render(report(several("a.png"), several("b.png")))
    assert counts(html) == "2 restored 1 rejected 1 failed"
    assert "not restored by every method" not in Page(html).words


def test_an_image_that_only_some_methods_restored_is_restored_and_the_summary_says_so() -> None:
    shown = several("a.png")
    rows = [*shown.rows[:2], {**shown.rows[2], "state": "failed", "reason": "It diverged.", "psnr": None}]
    html = render(report(replace(shown, rows=rows)))
    assert counts(html) == "1 restored 1 rejected 1 failed"
    assert "1 of the restored images was not restored by every method." in Page(html).words
    table = cells(html, "Methods")
    assert [row[table[0].index("State")] for row in table[1:]] == ["restored", "restored", "failed"]


def test_an_image_that_ended_alike_for_all_methods_is_told_once() -> None:
    table = cells(render(report(several("a.png"))), "Results")
    assert [row[1] for row in table[1:]] == ["blind", "published", "dip", "every method", "every method"]
    assert "Method" not in cells(render(report(image("a.png"))), "Results")[0]


def test_each_method_is_told_on_the_whole() -> None:
    table = cells(render(report(several("a.png"), several("b.png"))), "Methods on the whole")
    heads = table[0]
    assert [row[0] for row in table[1:]] == ["blind", "published", "dip"]
    told = dict(zip(heads, table[3], strict=True))
    assert (told["Restored"], told["gain"], told["Came closer"]) == ("2 of 4", "+6.00", "2 of 2")
    assert told["Iterations"] == "8,000"
    assert told["Multiply-adds"] == "3.00×10¹²"


def test_methods_are_compared_pair_by_pair_with_an_interval_and_a_warning() -> None:
    second = several("b.png")
    second = replace(second, rows=[*second.rows[:2], {**second.rows[2], "psnr": 27.25}])
    html = render(report(several("a.png"), second))
    table = cells(html, "Methods pair by pair")
    assert len(table) == 4
    # Differences 1.25 and 0.25: mean 0.75, standard error 0.5, Student's t 12.706.
    assert table[2] == ["blind", "dip", "2", "+0.75", "0.50", "−5.60 to +7.10", "2 of 2"]
    words = Page(html).words
    assert "The PSNR of the first method less that of the second, in dB," in words
    assert "Few images prove nothing." in words


def test_one_image_has_no_interval_and_without_references_the_held_out_error_is_compared() -> None:
    found = REPORTS["three methods, no references"]
    html = render(found)
    assert cells(html, "Methods pair by pair")[1] == ["blind", "published", "1", "0.00", "–", "–", "0 of 1"]
    assert "by the held-out error (noise included)," in Page(html).words


def test_one_method_is_compared_with_nothing() -> None:
    words = Page(render(report())).words
    assert "Pair by pair" not in words
    assert "mean PSNR gain" in words


def test_an_estimated_psnr_is_an_interval_and_a_dash_where_there_is_none() -> None:
    table = cells(render(REPORTS["three methods"]), "Methods")
    place = table[0].index("estimated")
    assert [row[place] for row in table[1:]] == ["–", "–", "26.1 to 27.0"]
    assert "Estimated PSNR" in Page(render(REPORTS["three methods"])).words
    assert "stimated" not in Page(render(REPORTS["one method"])).words


def test_without_references_the_estimate_is_the_headline() -> None:
    words = Page(render(report(image("a.png", referenced=False, psnr_low=28.06, psnr_high=28.94)))).words
    assert "28.1 to 28.9 dB estimated PSNR, without a reference" in words
    assert "Held-out error 0.002100" in words


def test_the_stack_and_what_is_delivered_are_told_with_their_weights() -> None:
    known = {"delivered": "stack", "psnr_stack": 28.75, "psnr_delivered": 28.75, "held_out_stack": 0.002}
    shown = image("a.png", **known, stack_weights=f"{PICK}=0.6100 2-000=0.3900")
    shown = replace(shown, arms=[replace(shown.arms[0], stack=png(grey=132))])
    words = Page(render(report(shown))).words
    assert "PSNR of the stack 28.75 dB" in words
    assert "PSNR of what is delivered 28.75 dB" in words
    # The headline is of what is delivered, not of the pick.
    assert "from 20.25 to 28.75 dB" in words
    assert "Held-out error of the stack 0.002000" in words
    assert "Delivered stack Weights in the stack" in words
    assert f"{PICK}=0.6100 2-000=0.3900" in words.replace("\u200b", "")
    assert "Stack of the fits" in words
    assert "stack" not in Page(render(REPORTS["one method"])).words


def test_the_page_begins_with_what_was_gained_over_the_filter_whose_picture_can_be_compared() -> None:
    known = {"classical": "non-local means", "psnr_classical": 27.25, "gain_over_classical": 0.25}
    shown = replace(image("a.png", **known), classical=png(grey=133))
    words = Page(render(replace(report(shown), worth=["search gained +0.25 dB over <classical> filters"]))).words
    assert words.index("search gained +0.25 dB over <classical> filters.") < words.index("mean PSNR gain")
    assert "Classical filter · 27.25 dB" in words
    assert "PSNR of the classical filter 27.25 dB" in words
    assert "Gain over the classical filter +0.25 dB" in words
    assert "Classical filter non-local means" in words
    assert "lassical" not in Page(render(REPORTS["one method"])).words


def test_the_psnr_of_the_brightness_is_told_where_some_row_has_it() -> None:
    words = Page(render(report(image("a.png", psnr_y=29.125)))).words
    assert "PSNR Y 29.12 dB" in words
    assert "PSNR Y" not in Page(render(REPORTS["one method"])).words


def test_the_rules_that_chose_and_stopped_are_told_for_each_method() -> None:
    table = cells(render(REPORTS["three methods"]), "Methods")
    at = [table[0].index(title) for title in ("Chosen by", "Stopped by")]
    assert [[row[place] for place in at] for row in table[1:]] == [
        ["held-out", "held-out"],
        ["weighted-mean", "held-out"],
        ["held-out", "held-out"],
    ]
    assert "Chosen by held-out Stopped by held-out" in Page(render(report())).words


def test_a_note_is_told_once_with_the_methods_it_concerns() -> None:
    words = Page(render(report(several()))).words
    assert words.count(NOTE) == 1
    assert f"blind: {NOTE}." in words
    assert f"Note: {NOTE}." in Page(render(report(image(note=NOTE)))).words


def offered(html: str) -> list[str]:
    """The choices of the first field for the left side."""
    field = re.search(r'<select class="left-choice".*?</select>', html, re.DOTALL)
    assert field is not None
    return [" ".join(part.split()) for part in re.findall(r'(?:<optgroup label="|<option[^>]*>)([^"<]*)', field[0])]


def test_one_method_offers_its_pictures_without_its_name() -> None:
    assert offered(render(report(image()))) == [
        "Degraded · 20.25 dB",
        "Restored · 27.50 dB",
        "Mean of the best few · 27.60 dB",
        "Spread map",
        "Reference",
    ]


def test_several_methods_offer_theirs_by_kind_and_equal_pictures_once() -> None:
    assert offered(render(report(several()))) == [
        "Degraded · 20.25 dB",
        "Restored",
        "blind, published · 27.50 dB",
        "dip · 26.25 dB",
        "Mean of the best few",
        "Mean: blind",
        "Spread map",
        "Spread: blind",
        "Reference",
    ]


def test_the_degraded_picture_is_first_compared_with_what_the_first_method_restored() -> None:
    html = render(report(several()))
    assert 'data-left="degraded" data-right="restored-1"' in html
    nothing = replace(several(), arms=[])
    assert 'data-left="degraded" data-right="reference"' in render(report(nothing))


def test_of_many_curves_only_those_of_the_picks_have_a_colour_and_a_name() -> None:
    html = render(report(several()))
    assert html.count('<g class="other">') == 12
    assert html.count('<g class="c0 lead">') == 2  # held-out error and PSNR
    legend = re.findall(r'<ul class="legend".*?</ul>', html, re.DOTALL)[0]
    words = " ".join(re.sub(r"<[^>]*>", " ", legend).split())
    assert words == (f"{PICK} stopped at 20, picked by blind, published dip stopped at 20, picked by dip 12 other fits")


def test_many_curves_are_told_as_a_number() -> None:
    assert "12 other fits." in render(report(several()))


def test_a_fit_that_halving_ended_is_said_to_be() -> None:
    table = cells(render(report(image())), "Candidates")
    assert table[4][table[0].index("State")] == "ended by halving"


def test_the_guide_speaks_only_of_what_is_there() -> None:
    assert "Spread map" in Page(render(report(image()))).words
    bare = replace(image(), arms=[ArmPictures("search", png(), None, None)])
    assert "Spread map" not in Page(render(report(bare))).words


def test_the_picks_are_marked_at_full_size_with_who_picked_them() -> None:
    def picked(shown: ImageReport) -> list[str]:
        html = render(report(shown))
        return [row[0] for row in cells(html, "Candidates") if "picked" in row[0]]

    assert picked(image()) == [f"{PICK} picked"]
    assert picked(several()) == [f"{PICK} picked by blind, published", "dip picked by dip"]
    assert render(report(several())).count('<tr class="picked">') == 2


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_are_not() -> None:
    def sized(width: int, height: int) -> ImageReport:
        made = [ArmPictures("search", png(width, height), None, None)]
        return replace(image(), degraded=png(width, height), reference=None, arms=made)

    small = render(report(sized(64, 48)))
    assert "--w: 640px; --ratio: 64 / 48" in small
    assert 'class="compare pixels"' in small
    large = render(report(sized(900, 600)))
    assert "--w: 900px; --ratio: 900 / 600" in large
    assert 'class="compare"' in large


def test_an_image_may_have_one_picture_or_none() -> None:
    alone = replace(image(), reference=None, arms=[])
    assert "divider" not in {a.get("class") for a in Page(render(report(alone))).all("input")}
    nothing = replace(alone, degraded=None, curves=[], cohort=[], rows=[row("a", state="failed", reason="Why.")])
    assert "No picture of this image was kept." in Page(render(report(nothing))).words


def test_something_that_is_no_png_is_refused_with_the_name_of_its_image() -> None:
    with pytest.raises(ValueError, match=r"cells/a\.png.*is not a PNG"):
        render(report(replace(image(), reference=b"GIF89a")))


def test_images_without_pictures_are_counted() -> None:
    assert "2 images have their results in the table above" in Page(render(without_images(report()))).words


def test_an_empty_run_has_a_page_too() -> None:
    empty = replace(report(), rows=[], images=(), left_out=0, settings={}, seconds=None)
    words = Page(render(empty)).words
    assert "This run has no results yet." in words
    assert "No settings were recorded." in words


@every_report
def test_every_field_has_a_label_and_every_heading_cell_a_scope(found: RunReport) -> None:
    page = Page(render(found))
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


@pytest.mark.parametrize(
    ("value", "shown"),
    [((28.06, 28.94), "28.1 to 28.9"), ((None, 28.9), "–"), ((NAN, 28.9), "–"), (None, "–"), (28.0, "–")],
)
def test_an_interval_is_told_only_where_both_ends_are_known(value: object, shown: str) -> None:
    assert text.interval(value) == shown
    assert (text.lower_end(value) is None) == (shown == "–")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.0\u00a0%"), (0.2, "20.0\u00a0%"), (0.98, "98.0\u00a0%"), (0.99256, "99.26\u00a0%"), (None, "–")],
)
def test_a_share_in_percent_has_another_digit_where_little_is_left(value: object, shown: str) -> None:
    assert text.percent(value) == shown


def test_pairs_of_counts_and_of_differences_are_told_in_words() -> None:
    assert text.share((3, 5)) == "3 of 5"
    assert text.gain_interval((-0.104, 0.43)) == "−0.10 to +0.43"
    assert (text.share(None), text.gain_interval((1.0, None))) == ("–", "–")
