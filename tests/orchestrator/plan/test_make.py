import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.arms.chains import weights_seed
from orchestrator.errors import ConfigError, UserMistakeError
from orchestrator.images import encode_mask
from orchestrator.ingest.folder import Upload
from orchestrator.plan.make import Resolve, make_plan, resume_plan
from orchestrator.plan.plan import Plan
from orchestrator.resources.cpus import cpu_count
from orchestrator.resources.share import Machine, Resources, resolve_resources
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import Rejected, Source, write_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord, check_run_name
from orchestrator.settings import Config
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import ELSEWHERE, Encoded, MakeConfig, leave_run
from workers.lottery.tickets import Ticket
from workers.names import Chain


@pytest.fixture
def folder(tmp_path: Path, encoded: Encoded) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for name in ("a.png", "b.png"):
        (path / name).write_bytes(encoded(9, 7))
    (path / "notes.txt").write_text("x")
    return path


def planned(store: LocalStore, folder: Path, config: Config) -> Plan:
    return make_plan(store, config, Source(str(folder)))


def test_a_plan_knows_the_images_and_writes_nothing(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    plan = make_plan(store, make_config(), Source(str(folder)), run="mine")
    assert plan.run == "mine"
    assert [image.name for image in plan.images] == ["a.png", "b.png"]
    assert [rejected.name for rejected in plan.rejected] == ["notes.txt"]
    assert not plan.simulate
    assert not Path(store.url).exists()


def test_a_plan_looks_at_the_first_files_and_names_the_others(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    (folder / "0.txt").write_text("x")
    plan = make_plan(store, make_config(), Source(str(folder)), ahead=1)
    # A file that is none is no image: it looks until there is one.
    assert [image.name for image in plan.images] == ["a.png"]
    assert [rejected.name for rejected in plan.rejected] == ["0.txt"]
    whole = make_plan(store, make_config(), Source(str(folder)))
    assert (plan.count, plan.coming, plan.trials) == (3, 3, 3 * whole.trials // 2)
    assert plan.rest is not None
    later = list(plan.rest)
    assert isinstance(later[0], Upload)
    assert later[0] == whole.uploads[1]
    assert (later[1:], plan.rest.left) == ([Rejected("notes.txt", "not a PNG, JPEG, WebP, TIFF or BMP image")], 0)


def test_what_concerns_all_images_looks_at_all(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    lottery = make_config(arms=["lottery-imp"], lottery={"together": True})
    assert len(make_plan(store, lottery, Source(str(folder)), ahead=1).images) == 2


def test_a_run_without_a_name_is_given_one(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    assert check_run_name(planned(store, folder, make_config()).run)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, (3, 3, 2, 10)),
        ({"cohort": {"size": 2}}, (3, 2, 2, 8)),
        ({"cohort": {"size": 50}}, (3, 3, 2, 10)),
        ({"score": {"candidates": 40}}, (40, 3, 2, 10)),
        ({"pick": {"full_fits": 9}}, (3, 3, 3, 12)),
        ({"cohort": {"view": "full"}}, (3, 3, 0, 6)),
        ({"score": {"candidates": 1}}, (1, 1, 0, 2)),
        ({"arms": ["isnas-dip-blind", "isnas-dip"]}, (3, 6, 3, 18)),
        ({"arms": ["dip", "deep-decoder"]}, (0, 3, 2, 10)),
        ({"arms": ["dip", "random"]}, (3, 4, 2, 12)),
        # Chains, with a dense one for each initialisation; every round of them is a fit.
        ({"arms": ["lottery-imp"], "lottery": {"initialisations": 2, "rounds": 5}}, (0, 4, 0, 24)),
    ],
)
def test_the_trials_are_counted(
    store: LocalStore,
    folder: Path,
    make_config: MakeConfig,
    changes: dict[str, object],
    counts: tuple[int, int, int, int],
) -> None:
    plan = planned(store, folder, make_config(**changes))
    assert (plan.candidates, plan.cohort_size, plan.full_fits, plan.trials) == counts


def left_behind(store: LocalStore, folder: Path, config: Config, **changes: Any) -> RunRecord:
    """A run that was interrupted before its inputs were in the store."""
    settings = config.model_dump(mode="json")
    source = {"images": str(folder), "references": None, "masks": None, "white_is_known": True}
    record = RunRecord("mine", "2026-01-31T14:25:01+00:00", 2, 1, False, settings, {}, source=source)
    leave_run(store, replace(record, **changes))
    return replace(record, **changes)


def test_a_run_of_the_same_settings_goes_on_with_more_or_less_of_the_machine(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    source = Source(str(folder))
    assert make_plan(store, make_config(), source, run="mine").continued is None
    record = left_behind(store, folder, make_config())
    told = replace(record, driver=ELSEWHERE.name)
    assert make_plan(store, make_config(), source, run="mine").continued == told
    assert make_plan(store, make_config(resources={"parallel": 1}), source, run="mine").continued == told
    assert make_plan(store, make_config(), source, run="mine2").continued is None


@pytest.mark.parametrize(
    ("used", "hours", "allowed"), [(2.0, 2.0, False), (2.5, 2, False), (2, 3, True), (9, None, True)]
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_run_whose_hours_are_spent_goes_on_only_with_more_of_them(
    store: LocalStore,
    folder: Path,
    make_config: MakeConfig,
    *,
    used: float,
    hours: float | None,
    allowed: bool,
    listed: bool,
) -> None:
    config = make_config(resources={"hours": 1.0})
    record = left_behind(store, folder, config, state=RunState.SPENT, usage={"machine_hours": used})
    if listed:
        write_inputs(store, RunLayout(record.run), planned(store, folder, config).inputs)
    assignments = [f"resources.hours={'null' if hours is None else hours}"]
    if allowed:
        assert resume_plan(store, record.run, assignments, source=Source(str(folder))).config.resources.hours == hours
        return
    with pytest.raises(UserMistakeError, match=rf"has used {used:g} machine hours, .* --set resources\.hours=N"):
        resume_plan(store, record.run, assignments, source=Source(str(folder)))


def test_a_finished_run_may_have_used_its_hours(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    config = make_config(resources={"hours": 1.0})
    record = left_behind(store, folder, config, state=RunState.FINISHED, usage={"machine_hours": 2.0})
    write_inputs(store, RunLayout(record.run), planned(store, folder, config).inputs)
    assert resume_plan(store, record.run).continued is not None


def test_a_name_of_a_run_with_other_settings_is_refused(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    left_behind(store, folder, make_config())
    source = Source(str(folder))
    other = {"fit": {"iterations": 7}, "task": {"sigma": 9}, "arms": ["dip"]}
    with pytest.raises(
        UserMistakeError, match=r"a run mine with other settings .*fit\.iterations: 6, now 7.*resume mine"
    ) as caught:
        make_plan(store, make_config(**other), source, run="mine")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserMistakeError, match="--simulate"):
        make_plan(store, make_config(), source, run="mine", simulate=True)
    with pytest.raises(UserMistakeError, match="command: submit, now study"):
        make_plan(store, make_config(), source, run="mine", command="study")


def test_a_run_is_resumed_from_its_record_with_the_inputs_that_the_store_has(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    left_behind(store, folder, make_config())
    # Not yet all there: they are brought from where they were, but not on the word of the store alone.
    with pytest.raises(UserMistakeError, match=r"not all in the store: .*--images DIR \(or --trust, .*/images\)"):
        resume_plan(store, "mine")
    (folder.parent / "other").mkdir()
    with pytest.raises(UserMistakeError, match="other"):
        resume_plan(store, "mine", source=Source(str(folder.parent / "other")))
    first = resume_plan(store, "mine", trust=True)
    assert [upload.path.name for upload in first.uploads] == ["a.png", "b.png"]
    assert resume_plan(store, "mine", source=Source(str(folder))) == first
    write_inputs(store, RunLayout("mine"), first.inputs)
    for path in folder.iterdir():
        path.unlink()
    again = resume_plan(store, "mine", ["resources.parallel=1"])
    assert again.inputs == first.inputs
    assert again.uploads == ()
    assert again.resources.parallel == 1
    assert again.config.fit == make_config().fit


def test_a_run_is_resumed_with_the_settings_it_was_begun_with_and_no_others(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    left_behind(store, folder, make_config())
    with pytest.raises(UserMistakeError, match=r"fit\.iterations: 6, now 7"):
        resume_plan(store, "mine", ["fit.iterations=7"], trust=True)
    with pytest.raises(ConfigError, match="no such setting"):
        resume_plan(store, "mine", ["fit.iteration=7"])
    with pytest.raises(UserMistakeError, match="no run 'other'"):
        resume_plan(store, "other")


def test_a_run_of_a_version_with_other_settings_says_so(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    record = left_behind(store, folder, make_config())
    leave_run(store, replace(record, config={"speed": 3}, machine={"dip-orchestrator": "9.9"}))
    with pytest.raises(UserMistakeError, match=r"does not know \(speed: .*begun with version 9\.9"):
        resume_plan(store, "mine")


def test_a_run_of_another_device_is_not_resumed_here(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    left_behind(store, folder, make_config(), machine={"device": "tpu"})
    with pytest.raises(UserMistakeError, match="device: tpu, now "):
        resume_plan(store, "mine", trust=True)


def test_a_run_goes_on_with_the_images_that_it_was_begun_with(
    store: LocalStore, folder: Path, make_config: MakeConfig, encoded: Encoded
) -> None:
    left_behind(store, folder, make_config())
    source = Source(str(folder))
    inputs = make_plan(store, make_config(), source, run="mine").inputs
    write_inputs(store, RunLayout("mine"), inputs)
    plan = make_plan(store, make_config(), source, run="mine")
    assert (plan.inputs, list(plan.uploads)) == (inputs, [])
    (folder / "c.png").write_bytes(encoded(9, 7))
    (folder / "b.png").unlink()
    (folder / "a.png").write_bytes(encoded(9, 8))
    with pytest.raises(
        UserMistakeError, match=r"other images \(c\.png is new; b\.png is missing; a\.png has changed\).*resume mine"
    ):
        make_plan(store, make_config(), source, run="mine")


def test_inpainting_needs_masks_or_a_simulation_and_no_other_task_has_any(
    store: LocalStore, folder: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.png", "b.png"):
        (masks / name).write_bytes(encode_mask(np.eye(9, 7, dtype=bool)))
    inpaint = make_config(task={"name": "inpaint"})
    plan = make_plan(store, inpaint, Source(str(folder), masks=str(masks), white_is_known=False))
    assert [upload.mask_path for upload in plan.uploads] == [masks / "a.png", masks / "b.png"]
    assert make_plan(store, inpaint, Source(str(folder)), simulate=True).images[0].mask is None
    assert make_plan(store, inpaint, Source(str(folder), masks=str(masks)), simulate=True).images[0].mask is not None
    with pytest.raises(UserMistakeError, match="give --masks DIR"):
        make_plan(store, inpaint, Source(str(folder)))
    with pytest.raises(UserMistakeError, match="--masks: the task is denoise, which has no holes"):
        make_plan(store, make_config(), Source(str(folder), masks=str(masks)))


def test_masks_are_read_in_the_colour_that_the_run_was_begun_with(
    store: LocalStore, folder: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.png", "b.png"):
        (masks / name).write_bytes(encode_mask(np.eye(9, 7, dtype=bool)))
    inpaint = make_config(task={"name": "inpaint"})
    white, black = (Source(str(folder), masks=str(masks), white_is_known=colour) for colour in (True, False))
    left_behind(store, folder, inpaint)
    assert make_plan(store, inpaint, white, run="mine").continued is not None
    with pytest.raises(UserMistakeError, match="--mask-known: the run mine was begun with the other colour"):
        make_plan(store, inpaint, black, run="mine")


def test_a_store_among_the_images_is_left_out(folder: Path, make_config: MakeConfig) -> None:
    store = LocalStore(folder / "dip-store")
    store.put("runs/x/restored/c.png", (folder / "a.png").read_bytes())
    assert [image.name for image in make_plan(store, make_config(), Source(str(folder))).images] == ["a.png", "b.png"]


def test_the_restored_image_is_the_one_that_must_fit_into_memory(
    store: LocalStore, folder: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.plan.make.this_machine", lambda: Machine(cpus=1, memory=64 * 2**20))
    assert make_plan(store, make_config(), Source(str(folder))).images
    sharp = make_config(task={"name": "super-resolve", "factor": 8})
    monkeypatch.setattr("orchestrator.resources.share.bytes_per_pixel", lambda config, channels: 4096.0)
    assert make_plan(store, sharp, Source(str(folder))).images
    monkeypatch.setattr("orchestrator.plan.make.this_machine", lambda: Machine(cpus=1, memory=8 * 2**20))
    with pytest.raises(UserMistakeError, match="fitting 56x72 pixels"):
        make_plan(store, sharp, Source(str(folder)))


def test_a_name_that_cannot_be_one_is_refused(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    with pytest.raises(UserMistakeError, match="letters, digits"):
        make_plan(store, make_config(), Source(str(folder)), run="../mine")


def test_images_larger_than_is_set_are_rejected(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    with pytest.raises(UserMistakeError, match="3 files, and none"):
        planned(store, folder, make_config(ingest={"max_pixels": 62}))
    assert len(planned(store, folder, make_config(ingest={"max_pixels": 63})).images) == 2


def test_references_and_simulation_reach_the_images(
    store: LocalStore, folder: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    simulated = make_plan(store, make_config(), Source(str(folder)), simulate=True)
    assert simulated.simulate
    assert all(image.reference == image.file for image in simulated.images)
    referenced = make_plan(store, make_config(), Source(str(folder), references=str(folder)))
    assert [upload.reference_path for upload in referenced.uploads] == [folder / "a.png", folder / "b.png"]


def test_this_process_may_use_a_cpu() -> None:
    assert cpu_count() >= 1


def test_an_image_that_would_not_fit_into_memory_is_rejected_before_anything_runs(
    store: LocalStore, tmp_path: Path, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "mixed"
    images.mkdir()
    for name, side in (("small", 64), ("large", 640)):
        (images / f"{name}.png").write_bytes(encoded(side, side))
    monkeypatch.setattr("orchestrator.plan.make.this_machine", lambda: Machine(cpus=1, memory=64 * 2**20))
    whole = make_config(fit={"tile": "none"})
    plan = make_plan(store, whole, Source(str(images)))
    assert [image.name for image in plan.images] == ["small.png"]
    assert plan.rejected[0].name == "large.png"
    assert "too large" in plan.rejected[0].reason
    assert plan.tiles == 0
    cut = make_plan(store, make_config(), Source(str(images)))
    assert [image.name for image in cut.images] == ["large.png", "small.png"]
    assert not cut.rejected
    # Every tile of each of two fits at full size is a trial.
    assert cut.tiles > 1
    assert cut.trials == 2 * plan.trials + 2 * (cut.tiles - 1)
    (images / "small.png").unlink()
    with pytest.raises(UserMistakeError, match=r"large\.png"):
        make_plan(store, whole, Source(str(images)))


# For machines that are not this one.


def on_gpus(config: Config) -> Resources:
    return resolve_resources(config, [Machine(8, 64 * 2**30, 2, 80 * 2**30)])


def on_cpus(config: Config) -> Resources:
    return resolve_resources(config, [Machine(8, 64 * 2**30)])


def handed_over(store: LocalStore, folder: Path, config: Config) -> Plan:
    """A run that is in the store, and that no driver has begun."""
    plan = make_plan(store, config, Source(str(folder)), run="mine", resolve=None)
    settings = config.model_dump(mode="json")
    record = RunRecord(
        "mine", "2026-01-31T14:25:01+00:00", 3, 1, False, settings, {"dip-orchestrator": "0.1.0+1f9a0c3e"}
    )
    store.put(RunLayout("mine").record, replace(record, source=asdict(plan.source)).to_json())
    write_inputs(store, RunLayout("mine"), plan.inputs)
    return plan


def test_a_plan_for_machines_that_are_not_known_has_no_resources_and_rejects_nothing_for_its_size(
    store: LocalStore, folder: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.plan.make.this_machine", lambda: Machine(cpus=1, memory=1))
    with pytest.raises(UserMistakeError, match="too large"):
        planned(store, folder, make_config())
    plan = make_plan(store, make_config(), Source(str(folder)), resolve=None)
    assert plan.resources is None
    assert [image.name for image in plan.images] == ["a.png", "b.png"]
    assert [upload.path for upload in plan.uploads] == [folder / "a.png", folder / "b.png"]
    assert [reject.name for reject in plan.rejected] == ["notes.txt"]
    # Mistakes in a file or a setting need no machine.
    with pytest.raises(UserMistakeError, match="give --masks DIR"):
        make_plan(store, make_config(task={"name": "inpaint"}), Source(str(folder)), resolve=None)
    # GPUs that this machine has not may be there.
    assert make_plan(store, make_config(resources={"gpus": 1}), Source(str(folder)), resolve=None).resources is None


def test_a_plan_has_the_resources_of_the_machines_that_it_is_for(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    config = make_config()
    assert make_plan(store, config, Source(str(folder)), resolve=on_gpus).resources == on_gpus(config)
    plan = handed_over(store, folder, config)
    resumed = resume_plan(store, "mine", ["resources.parallel=3"], resolve=on_gpus)
    assert resumed.resources == on_gpus(make_config(resources={"parallel": 3}))
    assert resumed.inputs == plan.inputs


@pytest.mark.parametrize("resolve", [on_cpus, on_gpus, None])
def test_a_run_that_was_handed_over_is_begun_on_whatever_machines_there_are(
    store: LocalStore, folder: Path, make_config: MakeConfig, resolve: Resolve | None
) -> None:
    plan = handed_over(store, folder, make_config())
    for path in folder.iterdir():
        path.unlink()
    resumed = resume_plan(store, "mine", resolve=resolve)
    assert (resumed.inputs, resumed.uploads) == (plan.inputs, ())
    assert resumed.resources == (None if resolve is None else resolve(make_config()))
    assert resumed.continued is not None
    assert resumed.continued.reason == "no driver has begun it yet"


def test_a_run_that_was_handed_over_before_its_inputs_were_there_can_be_handed_over_again(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    plan = handed_over(store, folder, make_config())
    store.delete(RunLayout("mine").inputs)
    for again in (
        make_plan(store, make_config(), Source(str(folder)), run="mine", resolve=None),
        resume_plan(store, "mine", trust=True, resolve=None),
    ):
        assert (again.inputs, list(again.uploads), again.resources) == (plan.inputs, list(plan.uploads), None)


def test_a_run_goes_on_with_another_share_of_its_gpus_but_on_no_other_device(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    write_inputs(store, RunLayout("mine"), planned(store, folder, make_config()).inputs)
    left_behind(store, folder, make_config(), machine={"device": "cuda"})
    for gpus, share in (("0.5", 0.5), ("auto", None), ("null", None)):
        resources = resume_plan(store, "mine", [f"resources.gpus={gpus}"], resolve=on_gpus).resources
        assert resources is not None
        assert (resources.device, resources.gpus) == ("cuda", share)
    for gpus, machines in (("0", on_gpus), ("null", on_cpus)):
        with pytest.raises(UserMistakeError, match=r"device: cuda, now cpu.*resume mine"):
            resume_plan(store, "mine", [f"resources.gpus={gpus}"], resolve=machines)
    left_behind(store, folder, make_config(), machine={"device": "cpu"})
    with pytest.raises(UserMistakeError, match=r"device: cpu, now cuda"):
        resume_plan(store, "mine", resolve=on_gpus)
    # Threads change results, so they do not depend on the machines that are there.
    with pytest.raises(UserMistakeError, match=r"resources\.threads: 1, now 2"):
        resume_plan(store, "mine", ["resources.threads=2"], resolve=on_cpus)


def test_whoever_hands_a_run_on_leaves_its_device_to_the_machines_that_will_have_it(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    write_inputs(store, RunLayout("mine"), planned(store, folder, make_config()).inputs)
    left_behind(store, folder, make_config(), machine={"device": "cuda"})
    assert resume_plan(store, "mine", resolve=None).resources is None
    # Everything else is looked at where it is known already.
    with pytest.raises(UserMistakeError, match=r"fit\.iterations: 6, now 7\)"):
        resume_plan(store, "mine", ["fit.iterations=7"], resolve=None)


# Lotteries.

MOVED = {"name": "moved", "like": "lottery-imp", "source": "f16-5fb2ac1e"}


def test_a_lottery_s_exempt_convolutions_must_be_there(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    def config(*arms: str, **lottery: Any) -> Config:
        return make_config(arms=list(arms), lottery=lottery)

    assert planned(store, folder, config("lottery-imp", exempt=["skips.*"])).images
    with pytest.raises(UserMistakeError, match=r"^lottery\.exempt: no convolution matches 'layers\.0'; there are "):
        planned(store, folder, config("lottery-imp", exempt=["layers.0"]))
    assert planned(store, folder, config("lottery-imp", exempt=["layers.0"], network="deep-decoder-8")).images
    # A run without them does not depend on it.
    assert planned(store, folder, config("dip", exempt=["layers.0"])).images


def test_masks_are_found_on_clean_images_only_where_there_are_some(
    store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    config = make_config(arms=["lottery-imp"], lottery={"target": "clean"})
    with pytest.raises(UserMistakeError, match=r"^lottery\.target=clean: there are no clean images; give --references"):
        planned(store, folder, config)
    assert make_plan(store, config, Source(str(folder), references=str(folder))).images
    assert make_plan(store, config, Source(str(folder)), simulate=True).images
    assert planned(store, folder, make_config(arms=["dip"], lottery={"target": "clean"})).images


def test_tickets_from_elsewhere_must_be_there(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    lottery = {"network": "deep-decoder-4", "initialisations": 1, "rounds": 2, "fit_rounds": [2], "tickets": "earlier"}
    config = make_config(arms=[MOVED], lottery=lottery)
    name = "deep-decoder-4.imp.0.r02"
    refused = re.escape(f"arm moved: the run earlier has no ticket {name} of f16-5fb2ac1e, or a damaged one")
    chain = Chain("deep-decoder-4", "imp", 0)
    mask = torch.ones(4, 4, 1, 1, dtype=torch.bool)
    said: dict[str, Any] = {
        "source": (),
        "task": "denoise",
        "target": "observed",
        "rewind": 0,
        "masks": {"layers.0": mask},
    }
    ticket = Ticket(chain.network, 3, 8, 3, weights_seed(config, chain), "imp", 0, 2, **said)
    for run, source, number in (("earlier", "f17-0", 2), ("other", "f16-5fb2ac1e", 2), ("earlier", "f16-5fb2ac1e", 1)):
        with pytest.raises(UserMistakeError, match=f"^{refused}$"):
            planned(store, folder, config)
        store.put(RunLayout(run).ticket(source, chain.round(number)), ticket.to_bytes())
    key = RunLayout("earlier").ticket("f16-5fb2ac1e", chain.round(2))
    store.put(key, b"not a ticket")
    with pytest.raises(UserMistakeError, match=f"^{refused}$"):
        planned(store, folder, config)
    store.put(key, ticket.to_bytes())
    assert planned(store, folder, config).images
    for other in ({"network": {"width": 12}}, {"seed": 1}):
        with pytest.raises(UserMistakeError, match=r"^arm moved: its tickets are of a network of width 8 with other "):
            planned(store, folder, make_config(arms=[MOVED], lottery=lottery, **other))
    store.put(key, replace(ticket, out_channels=1).to_bytes())
    with pytest.raises(UserMistakeError, match=r"^arm moved: its tickets are of images with 1 channel, and none of "):
        planned(store, folder, config)


def test_images_that_masks_are_found_on_together_must_fit_into_one_trial(
    store: LocalStore, folder: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.plan.make.too_large", lambda config, images, resources: {})
    # Each pixel has 3 colours, 3 channels of noise and 2 weights, of 4 bytes each; half of the memory is for that.
    needed = 2 * (2 * 9 * 7 * 8 * 4)

    def planned_with(memory: int, *, together: bool = True) -> Plan:
        config = make_config(arms=["lottery-imp"], lottery={"together": together})
        return make_plan(store, config, Source(str(folder)), resolve=lambda config: Resources(1, 1, "cpu", 0, memory))

    assert planned_with(needed).images
    assert planned_with(needed - 1, together=False).images
    with pytest.raises(
        UserMistakeError, match=r"^lottery\.together: the images take 0\.0 GB in one trial, which has 0\.0 GB"
    ):
        planned_with(needed - 1)


def test_grey_and_colour_images_have_no_masks_in_common(
    store: LocalStore, folder: Path, make_config: MakeConfig, encoded: Encoded
) -> None:
    (folder / "grey.png").write_bytes(encoded(9, 7, 1))
    config = make_config(arms=["lottery-imp"], lottery={"together": True})
    with pytest.raises(UserMistakeError, match=r"^lottery\.together: grey and colour images have no network in common"):
        planned(store, folder, config)
    assert planned(store, folder, make_config(arms=["lottery-imp"])).images
    (folder / "a.png").unlink()
    (folder / "b.png").unlink()
    assert planned(store, folder, config).images
