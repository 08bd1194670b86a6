import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from orchestrator.report import render
from tests.orchestrator.report.examples import HOSTILE, image, lottery_report, report, row, several

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next((path for path in map(shutil.which, NAMES) if path), None)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = pytest.mark.skipif(FOUND is None, reason="no Chromium: apt-get install chromium")


@dataclass
class Visit:
    """A page opened in a browser, with its messages and requests."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def close(self, dialog: Dialog) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=FOUND, args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.fixture(scope="module")
def address_of_several(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of three methods."""
    path = tmp_path_factory.mktemp("report") / "several.html"
    path.write_text(render(report(several("a.png"), several("b.png"))), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = report(image(), image(HOSTILE), image("x" * 300 + ".png"))
    rows = [
        *found.rows,
        row("z/10.png", psnr_degraded=10.0, psnr=9.0),
        row("z/9.png", psnr_degraded=9.0, psnr=30.0),
        row("a-" * 150 + ".png"),
    ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(replace(found, rows=rows)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def address_of_a_lottery(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of lottery tickets, with everything opened."""
    path = tmp_path_factory.mktemp("report") / "lottery.html"
    path.write_text(render(lottery_report()).replace("<details ", "<details open "), encoding="utf-8")
    return path.as_uri()


def opened(browser: Browser, address: str, width: int = 1200, scheme: str = "light") -> Visit:
    dark = scheme == "dark"
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    visit = Visit(page)
    page.on("console", lambda message: visit.said.append(message.text))
    page.on("pageerror", lambda error: visit.said.append(str(error)))
    # A dialog nobody closes would hold the page until the test runs out of time.
    page.on("dialog", visit.close)
    page.on("request", lambda request: visit.asked.append(request.url))
    page.goto(address)
    return visit


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    found = opened(browser, address)
    yield found
    found.page.close()


def first_column(page: Page) -> list[str]:
    return [text.split("\n")[0] for text in page.locator("table >> nth=0").locator("tbody th").all_inner_texts()]


def clip(page: Page) -> str:
    return str(page.locator(".layer.left >> nth=0").evaluate("layer => getComputedStyle(layer).clipPath"))


def test_the_page_loads_in_silence_and_asks_only_for_itself(visit: Visit, address: str) -> None:
    assert visit.page.title() == "2026-05-09 plate 7 – restoration report"
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith("data:")] == [address]


def test_every_picture_is_decoded(visit: Visit) -> None:
    broken = "[...document.images].filter(image => !image.complete || image.naturalWidth !== 12).length"
    assert visit.page.evaluate("document.images.length") == 15
    assert visit.page.evaluate(broken) == 0


def test_a_hostile_name_runs_nothing_and_is_read_as_it_is(visit: Visit) -> None:
    assert visit.page.locator("h3 bdi").nth(1).inner_text() == "<img src=x onerror=alert(1)>\\n\\u202e\\x80\"'&.png"
    assert visit.page.locator("img:not([src^='data:'])").count() == 0
    assert visit.said == []
    assert "\n" in HOSTILE


def test_the_arrow_keys_move_the_divider(visit: Visit) -> None:
    divider = visit.page.locator(".divider >> nth=0")
    before = clip(visit.page)
    divider.focus()
    divider.press("Home")
    assert clip(visit.page) != before
    assert divider.get_attribute("aria-valuetext") == "0 % Degraded · 20.25 dB, 100 % Restored · 27.50 dB"
    divider.press("ArrowRight")
    assert divider.get_attribute("aria-valuetext") == "1 % Degraded · 20.25 dB, 99 % Restored · 27.50 dB"


def test_the_divider_lies_under_the_pointer_that_drags_it(visit: Visit) -> None:
    visit.page.locator(".stage >> nth=0").scroll_into_view_if_needed()
    box = visit.page.locator(".stage >> nth=0").bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    visit.page.mouse.down()
    for share in (0.1, 0.8):
        visit.page.mouse.move(box["x"] + share * box["width"], box["y"] + 40)
        bar = visit.page.locator(".bar >> nth=0").bounding_box()
        assert bar is not None
        assert bar["x"] + bar["width"] / 2 == pytest.approx(box["x"] + share * box["width"], abs=1.5)
    visit.page.mouse.up()


def test_other_pictures_can_be_compared_and_choosing_the_same_twice_swaps_them(visit: Visit) -> None:
    left, right = visit.page.locator(".left-choice >> nth=0"), visit.page.locator(".right-choice >> nth=0")
    right.select_option("reference")
    assert visit.page.locator(".layer.right >> nth=0").get_attribute("data-key") == "reference"
    left.select_option("reference")
    assert (left.input_value(), right.input_value()) == ("reference", "degraded")
    assert visit.page.locator(".layer.left >> nth=0").get_attribute("data-key") == "reference"


def test_all_pictures_can_be_seen_side_by_side(visit: Visit) -> None:
    box = visit.page.locator(".compare >> nth=0")
    assert box.locator(".layer img:visible").count() == 2
    box.get_by_role("button", name="Side by side").click()
    assert box.locator(".layer img:visible").count() == 5
    assert box.locator("figcaption:visible").count() == 5


def test_on_paper_all_pictures_stand_side_by_side_on_white(visit: Visit) -> None:
    visit.page.emulate_media(media="print", color_scheme="dark")
    box = visit.page.locator(".compare >> nth=0")
    assert box.locator(".layer img:visible").count() == 5
    assert box.locator(".bar:visible, .divider:visible, .choice:visible").count() == 0
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_heading_sorts_by_its_numbers_with_the_unknown_last_either_way(visit: Visit) -> None:
    head = visit.page.get_by_role("columnheader", name="gain").first
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    known = first_column(visit.page)[:5]
    assert (known[0], known[4]) == ("z/10.png", "z/9.png")
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(visit.page)[:5] == ["z/9.png", *known[1:4], "z/10.png"]
    assert visit.page.locator("[aria-sort]").count() == 1


def test_names_sort_as_people_count(visit: Visit) -> None:
    visit.page.get_by_role("columnheader", name="Image").first.get_by_role("button").click()
    names = first_column(visit.page)
    assert names.index("z/9.png") < names.index("z/10.png")


def test_the_pictures_of_several_methods_can_be_compared(browser: Browser, address_of_several: str) -> None:
    found = opened(browser, address_of_several)
    right = found.page.locator(".right-choice >> nth=0")
    right.select_option(label="dip · 26.25 dB")
    found.page.locator(".left-choice >> nth=0").select_option(label="Spread: blind")
    keys = [found.page.locator(f".layer.{side} >> nth=0").get_attribute("data-key") for side in ("left", "right")]
    assert keys == ["spread-1", "restored-2"]
    assert found.said == []
    found.page.close()


def test_intervals_sort_by_their_lower_end(browser: Browser, address_of_several: str) -> None:
    found = opened(browser, address_of_several)
    found.page.get_by_role("columnheader", name="95 % interval").get_by_role("button").click()
    pairs = found.page.get_by_role("region", name="Methods pair by pair").locator("tbody tr").all_inner_texts()
    lows = [float(pair.split("\t")[5].split(" to ")[0].replace("−", "-")) for pair in pairs]
    assert len(lows) == 3
    assert lows == sorted(lows)
    found.page.close()


@pytest.mark.parametrize("width", [320, 400, 1200])
def test_the_page_of_several_methods_never_scrolls_sideways(
    browser: Browser, address_of_several: str, width: int
) -> None:
    found = opened(browser, address_of_several, width)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    for button in found.page.get_by_role("button", name="Side by side").all():
        button.click()
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    found.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 1200])
def test_the_page_never_scrolls_sideways(browser: Browser, address: str, width: int, scheme: str) -> None:
    found = opened(browser, address, width, scheme)
    found.page.locator("summary").click()
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert found.said == []
    found.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_the_paper(browser: Browser, address: str, scheme: str) -> None:
    found = opened(browser, address, scheme=scheme)
    # The contrast of WCAG 2, 4.5 for text of ordinary size.
    ratios = found.page.evaluate(
        """() => {
          const light = (css) => css.match(/[0-9.]+/g).slice(0, 3).map(Number).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const paper = light(getComputedStyle(document.body).backgroundColor);
          return [...document.querySelectorAll("p, dd, dt, td, th, a, code, select, .badge, .pick, figcaption")]
            .filter(e => !e.closest(".none"))
            .map(e => light(getComputedStyle(e).color))
            .map(ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05));
        }"""
    )
    assert min(ratios) >= 4.5
    found.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 1200])
def test_the_page_of_a_lottery_never_scrolls_sideways_and_asks_for_nothing(
    browser: Browser, address_of_a_lottery: str, width: int, scheme: str
) -> None:
    found = opened(browser, address_of_a_lottery, width, scheme)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert found.said == []
    assert [url for url in found.asked if not url.startswith("data:")] == [address_of_a_lottery]
    found.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_stand_out_from_coloured_cells(browser: Browser, address_of_a_lottery: str, scheme: str) -> None:
    found = opened(browser, address_of_a_lottery, scheme=scheme)
    # The browser paints one pixel of each colour, in whatever notation the style has it.
    ratios = found.page.evaluate(
        """() => {
          const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const light = (css) => {
            context.fillStyle = css;
            context.fillRect(0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
              .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
              .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          };
          return [...document.querySelectorAll(".matrix td")].map(cell => {
            const [paper, ink] = [light(getComputedStyle(cell).backgroundColor), light(getComputedStyle(cell).color)];
            return [paper, (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)];
          });
        }"""
    )
    assert min(ratio for _, ratio in ratios) >= 4.5
    # They are coloured, and not all alike.
    assert len({round(paper, 3) for paper, _ in ratios}) > 3
    found.page.close()


def test_without_script_the_pictures_stand_side_by_side(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".compare >> nth=0").locator(".layer img:visible").count() == 5
    assert page.locator("select:visible, .divider:visible").count() == 0
    context.close()
