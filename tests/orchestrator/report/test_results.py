from dataclasses import replace

import pytest

from orchestrator.report import RunReport, render, render_results, results
from tests.orchestrator.report.examples import HOSTILE, image, report, row
from tests.orchestrator.report.test_page import Page


def many() -> RunReport:
    """Seven lines, the first image with pictures, two that were not restored; only the first page has PSNRs."""
    rows = [row("a.png", psnr=30.0), *(row(f"{name}.png") for name in "bcd"), row(HOSTILE)]
    lost = [row("y.png", state="failed", reason="Why."), row("z.png", state="rejected", reason="No image.")]
    return replace(report(image("a.png")), rows=[*rows, *lost], left_out=6)


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MOST_LINES", 3)


def links(page: Page) -> list[str | None]:
    return [attributes["href"] for attributes in page.all("a")]


def test_lines_too_many_for_one_page_are_on_pages_beside_it() -> None:
    first = Page(render(many()))
    files = ["results-0001.html", "results-0002.html", "results-0003.html"]
    assert [link for link in links(first) if link in files] == files
    pages = {file: Page(page) for file, page in render_results(many())}
    assert list(pages) == files
    assert [len(page.all("tr")) for page in pages.values()] == [2 + 3, 2 + 3, 2 + 1]
    assert all(page.words.count("restored") >= 1 for page in pages.values())


def test_the_first_page_shows_what_was_not_restored() -> None:
    page = Page(render(many()))
    assert "Not restored" in page.words
    assert "Why." in page.words
    assert "No image." in page.words
    whole = replace(many(), rows=[row(f"{name}.png") for name in "abcd"])
    assert "Not restored" not in Page(render(whole)).words


def test_no_more_failures_than_one_table_holds_are_on_the_first_page() -> None:
    rows = [row(f"{name}.png", state="failed", reason=f"Reason {name}.") for name in "abcd"]
    page = Page(render(replace(many(), rows=rows)))
    assert "The first 3 of 4; the pages have the others." in page.words
    assert "Reason c." in page.words
    assert "Reason d." not in page.words


def test_pages_lead_to_their_neighbours_and_names_to_pictures_on_the_first_page() -> None:
    pages = {file: links(Page(page)) for file, page in render_results(many())}
    home = "index.html"
    assert pages == {
        "results-0001.html": [home, "results-0002.html", f"{home}#image-1"],
        "results-0002.html": ["results-0001.html", home, "results-0003.html"],
        "results-0003.html": ["results-0002.html", home],
    }


def test_pages_have_the_same_columns_and_ask_nothing_of_any_network() -> None:
    pages = [page for _, page in render_results(many())]
    heads = [
        [attributes.get("title") for attributes in Page(page).all("th") if "data-kind" in attributes] for page in pages
    ]
    assert heads[0] == heads[1] == heads[2]
    assert all("default-src 'none'" in page for page in pages)
    assert not any(Page(page).all("img") or Page(page).all("link") for page in pages)


def test_few_lines_need_no_pages() -> None:
    few = replace(many(), rows=many().rows[:3])
    assert list(render_results(few)) == []
    assert "results-0001.html" not in render(few)
