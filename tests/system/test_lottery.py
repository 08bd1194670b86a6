"""Lottery tickets as users find and move them, on whole runs."""

import pytest
from PIL import Image

from tests.system.conftest import CommandLine, folder_of, save_rgb, smooth
from workers.lottery.masks import kept_after
from workers.lottery.tickets import Ticket

TINY_LOTTERY = (
    *("network.width=8", "lottery.rounds=2", "lottery.rate=0.5", "lottery.initialisations=2", "lottery.iterations=6"),
    *("fit.iterations=6", "fit.block=3", "pick.full_fits=2", "resources.parallel=1"),
)
PRUNED = {"lottery-imp", "lottery-random", "lottery-snip", "lottery-oes"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> CommandLine:
    """A folder with two clean images and the run ``found`` of a lottery on them."""
    cli = CommandLine(tmp_path_factory.mktemp("lottery"), ray_address)
    for number, name in enumerate(("a", "B b")):
        save_rgb(cli.folder / f"clean/{name}.png", height=64, phase=number)
    arms = ",".join([*sorted(PRUNED), "lottery-decoder", "dip"])
    done = cli.here(
        cli.submit("--images", "clean", "--simulate", "--arms", arms, "--run", "found", settings=TINY_LOTTERY)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not below the dense network by 0.1 dB up to" in done.stdout or "to dense" in done.stdout
    return cli


def test_every_round_of_every_method_has_its_row_and_its_ticket(found: CommandLine) -> None:
    rows = found.rows("found")
    for image in ("a.png", "B b.png"):
        for arm in PRUNED:
            of_arm = [row for row in rows if (row["image"], row["arm"]) == (image, arm)]
            assert sorted((row["round"], row["initialisation"]) for row in of_arm) == [
                (number, start) for number in (0, 1, 2) for start in (0, 1)
            ]
            assert [row["picked"] for row in of_arm] == [True] + [False] * 5
            assert all(row["state"] == "restored" and row["psnr"] > 0 and row["psnr_last"] > 0 for row in of_arm)
            picked = min(of_arm, key=lambda row: row["held_out_error"])
            assert picked["picked"]
        # Equal rounds are equally sparse whatever the method, and the dense network is the same fit for all.
        by_round = {
            number: [row for row in rows if row["round"] == number and row["arm"] in PRUNED] for number in range(3)
        }
        assert [len({row["sparsity"] for row in by_round[number]}) for number in range(3)] == [1, 1, 1]
        dense = {(row["initialisation"], row["psnr"]) for row in by_round[0] if row["image"] == image}
        assert len(dense) == 2
        # A fit at full size is the result itself, and not fitted twice: of the cohort only the best are kept.
        records = (folder_of(found, "found") / "fits").glob(f"{image[0]}*/*/*/result.json")
        assert {path.parent.parent.name for path in records} == {"full"}
    tickets = sorted((folder_of(found, "found") / "tickets").glob("a-*/*.ticket"))
    assert len(tickets) == 4 * 2 * 2
    for path in tickets:
        ticket = Ticket.from_bytes(path.read_bytes())
        kept = sum(int(mask.sum()) for mask in ticket.masks.values())
        assert kept == kept_after(sum(mask.numel() for mask in ticket.masks.values()), 0.5, ticket.round)
        (row,) = [
            row
            for row in rows
            if row["image"] == "a.png"
            and row["candidate"] == f"dip.{ticket.method}.{ticket.initialisation}.r{ticket.round:02}"
        ]
        assert row["sparsity"] == ticket.sparsity


def test_the_page_and_the_tables_show_it(found: CommandLine) -> None:
    page = (folder_of(found, "found") / "report/index.html").read_text()
    assert "Lottery tickets" in page
    table = (folder_of(found, "found") / "lottery/sparsity.csv").read_text().splitlines()
    # Per arm and round, for both images together and each alone.
    assert len(table) == 1 + 3 * (4 * 3 + 2)


def test_tickets_are_trained_on_other_images_for_another_task(found: CommandLine) -> None:
    save_rgb(found.folder / "others/c.png", height=64, phase=2)
    save_rgb(found.folder / "others/a.png", height=64, phase=0)
    command = found.driving("evaluate", "--tickets", "found", "--images", "others", "--simulate")
    options = ["--config", "inpaint", "--run", "moved"]
    for setting in ("fit.iterations=6", "pick.full_fits=1", "resources.parallel=1"):
        options += ["--set", setting]
    done = found.here([*command, *options, "--methods", "imp"])
    assert done.returncode == 0, done.stdout + done.stderr
    rows = found.rows("moved")
    from_a = [row for row in rows if row["arm"].startswith("imp-from-a-")]
    assert {row["source"] for row in from_a} == {from_a[0]["source"]}
    assert {(row["image"], row["round"], row["initialisation"]) for row in from_a} == {
        (image, 2, start) for image in ("a.png", "c.png") for start in (0, 1)
    }
    assert {"lottery-dense", "lottery-random", "lottery-snip", "lottery-decoder"} < {row["arm"] for row in rows}
    assert "imp, round 2: dB to dense" in done.stdout
    matrix = (folder_of(found, "moved") / "lottery/transfer.csv").read_text()
    # It was found on this very image.
    assert ",a.png,imp,2,True," in matrix
    assert ",c.png,imp,2,False," in matrix


def test_tickets_that_no_image_can_be_fitted_with_are_refused_before_anything_starts(found: CommandLine) -> None:
    grey = found.folder / "grey/g.png"
    grey.parent.mkdir()
    Image.fromarray((smooth(64, 64, 1)[..., 0] * 255).astype("uint8")).save(grey)
    done = found.here(found.command("evaluate", "--tickets", "found", "--images", "grey", "--simulate"))
    assert done.returncode == 2
    assert "its tickets are of images with 3 channels, and none of the images has as many" in done.stderr
