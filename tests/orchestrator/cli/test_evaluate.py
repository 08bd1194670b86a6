import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.arms.chains import weights_seed
from orchestrator.arms.lottery import chains_of, rounds_of
from orchestrator.arms.resolve import arms_of
from orchestrator.cli import main
from orchestrator.plan.plan import Plan
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.settings import Config
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Encoded, MakeConfig, leave_run
from workers.lottery.tickets import Ticket
from workers.names import Chain

NETWORK = "deep-decoder-4"
A, B = "a-0123abcd", "b-89abcdef"
LAYOUT = RunLayout("found")
OWN = ["lottery-dense", "lottery-random", "lottery-snip", "lottery-decoder"]
"""The arms besides those of moved tickets."""


def ticket(config: Config, chain: Chain, number: int) -> bytes:
    """A ticket that keeps every second weight of a layer."""
    side = int(chain.network.rpartition("-")[2])
    mask = torch.arange(side**2).reshape(side, side, 1, 1) % 2 == 0
    return Ticket(
        network=chain.network,
        out_channels=3,
        width=8,
        input_channels=3,
        seed=weights_seed(config, chain),
        method=chain.method,
        initialisation=chain.initialisation,
        round=number,
        source=(),
        task="denoise",
        target="observed",
        rewind=0,
        masks={"layers.0": mask},
    ).to_bytes()


class Evaluate:
    """The command over a store in which a run has found tickets; its plans are not carried out."""

    def __init__(self, folder: Path, images: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self.images = LocalStore(folder / "store"), images
        self.plans: list[Plan] = []
        self._capsys = capsys
        self.leave(config)

    def leave(self, config: Config) -> None:
        """The run's record."""
        self.config = config
        record = RunRecord("found", "2026-01-31T14:25:01+00:00", 2, 0, False, config.model_dump(mode="json"), {})
        leave_run(self.store, record)

    def found(self, source: str, *methods: Any, network: str = NETWORK, rounds: Sequence[int] = (1, 2, 3)) -> None:
        """Tickets of one chain of each method."""
        for chain in (Chain(network, method, 0) for method in methods):
            for number in rounds:
                self.store.put(LAYOUT.ticket(source, chain.round(number)), ticket(self.config, chain, number))

    def told(self, *arguments: str) -> tuple[int, str, str]:
        options = ["--store", self.store.url, "--images", str(self.images), "--tickets", "found", "--dry-run"]
        status = main(["evaluate", *options, *arguments])
        return status, *self._capsys.readouterr()

    def __call__(self, *arguments: str) -> Config:
        """The settings of the run that it plans."""
        before = len(self.plans)
        assert self.told(*arguments) == (0, "", "")
        assert len(self.plans) == before + 1
        return self.plans[-1].config

    def mistake(self, *arguments: str) -> str:
        """The message of a mistake, after which nothing was done."""
        status, out, err = self.told(*arguments)
        assert (status, out) == (2, "")
        (line,) = err.splitlines()
        return line.removeprefix("evaluate: ")


@pytest.fixture
def bare(
    tmp_path: Path,
    make_config: MakeConfig,
    encoded: Encoded,
    capsys: pytest.CaptureFixture[str],
) -> Evaluate:
    """Without any tickets."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "c.png").write_bytes(encoded(9, 7))
    lottery = {"initialisations": 1, "rounds": 3, "rate": 0.25, "iterations": 4, "rewind": 2, "exempt": ["layers.8"]}
    config = make_config(seed=5, arms=["lottery-imp"], lottery={"network": NETWORK, **lottery}, task={"sigma": 30})
    return Evaluate(tmp_path, images, config, capsys)


@pytest.fixture
def evaluate(bare: Evaluate, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """With tickets by magnitude of two images, and others of one; its plans are kept and not printed."""
    bare.found(A, "imp", "oes", "random")
    bare.found(B, "imp")
    bare.store.put(f"{LAYOUT.all_tickets}/{A}/{NETWORK}.imp.0.start.pt", b"x")
    monkeypatch.setattr("orchestrator.cli.driving.show_plan", lambda request, plan, *_, **__: bare.plans.append(plan))
    return bare


def moved(config: Config) -> list[str]:
    """The names of the arms of moved tickets; each derives its own from its parts."""
    arms = [arm for arm in config.arms if arm.source is not None]
    assert [arm.name for arm in config.arms][: len(OWN)] == OWN
    assert len(arms) == len(config.arms) - len(OWN)
    assert all(arm.name == f"{arm.like.removeprefix('lottery-')}-from-{arm.source}" for arm in arms)
    return [arm.name for arm in arms]


def test_an_evaluation_has_the_networks_of_the_tickets_and_an_arm_for_every_source_and_method(
    evaluate: Evaluate,
) -> None:
    config = evaluate()
    assert moved(config) == [f"imp-from-{A}", f"oes-from-{A}", f"imp-from-{B}"]
    source, lottery = evaluate.config.lottery, config.lottery
    same = ("network", "initialisations", "rounds", "rate", "exempt", "iterations", "rewind", "target")
    assert {name: getattr(lottery, name) for name in same} == {name: getattr(source, name) for name in same}
    assert (lottery.seed, lottery.tickets, lottery.together, lottery.fit_rounds) == (5, "found", False, [3])
    # Without settings of its own it has those of the run.
    assert (config.network, config.task, config.fit) == (
        evaluate.config.network,
        evaluate.config.task,
        evaluate.config.fit,
    )


def test_every_ticket_that_is_asked_for_is_there(evaluate: Evaluate) -> None:
    config = evaluate("--rounds", "all")
    asked = [
        RunLayout("found").ticket(chain.source, replace(chain, source=None).round(number))
        for arm in arms_of(config)
        for chain in chains_of(config, arm, NETWORK)
        for number in rounds_of(config, chain)
        if chain.source is not None
    ]
    assert len(asked) == 9
    assert all(evaluate.store.exists(key) for key in asked)


def test_the_weights_are_those_of_the_tickets_whatever_the_seed_of_this_run_is(evaluate: Evaluate) -> None:
    config = evaluate("--set", "seed=9")
    assert (config.seed, config.lottery.seed) == (9, 5)
    own = evaluate.config.lottery.model_copy(update={"seed": 7})
    evaluate.leave(evaluate.config.model_copy(update={"lottery": own}))
    evaluate.found(A, "imp", "oes")
    evaluate.found(B, "imp")
    assert evaluate().lottery.seed == 7
    assert evaluate.mistake("--set", "lottery.seed=5").startswith(
        f"arm imp-from-{A}: its tickets are of a network of width 8"
    )


def test_other_settings_and_another_task_can_be_given(evaluate: Evaluate) -> None:
    given = evaluate("--set", "task.name=deblur", "--set", "lottery.iterations=9", "--set", "fit.learning_rate=0.1")
    assert (given.task.name, given.lottery.iterations, given.fit.learning_rate) == ("deblur", 9, 0.1)
    assert moved(given) == moved(evaluate())
    shipped = evaluate("--config", "super-resolve")
    assert shipped.task.name == "super-resolve"
    # The source decides the network of a ticket in any case.
    assert (shipped.network.width, shipped.lottery.network, shipped.lottery.rate) == (8, NETWORK, 0.25)
    assert moved(shipped) == moved(given)


@pytest.mark.parametrize(
    ("arguments", "rounds"),
    [
        ([], [3]),
        (["--rounds", "all"], [1, 2, 3]),
        (["--rounds", "2"], [2]),
        (["--rounds", "3, 1,3"], [1, 3]),
    ],
)
def test_rounds_are_the_last_all_or_those_that_are_named(
    evaluate: Evaluate, arguments: list[str], rounds: list[int]
) -> None:
    assert evaluate(*arguments).lottery.fit_rounds == rounds


def test_rounds_that_are_not_there_are_a_mistake(evaluate: Evaluate) -> None:
    for rounds in ("4", "1,4", "0"):
        assert (
            evaluate.mistake("--rounds", rounds) == f"--rounds {rounds}: all chains have tickets of the rounds 1, 2, 3"
        )
    for rounds in ("last", "1;2", ""):
        assert evaluate.mistake(f"--rounds={rounds}").startswith(f"--rounds {rounds}: write numbers with commas")


def test_rounds_are_those_of_which_all_chains_have_tickets(evaluate: Evaluate) -> None:
    evaluate.store.delete(LAYOUT.ticket(A, Chain(NETWORK, "oes", 0).round(3)))
    assert evaluate().lottery.fit_rounds == [2]
    assert evaluate("--rounds", "all").lottery.fit_rounds == [1, 2]
    assert evaluate("--methods", "imp").lottery.fit_rounds == [3]
    assert evaluate("--sources", "b").lottery.fit_rounds == [3]
    for number in (1, 2):
        evaluate.store.delete(LAYOUT.ticket(B, Chain(NETWORK, "imp", 0).round(number)))
    assert evaluate.mistake() == "--tickets found: no round has tickets of all chains; has the run ended?"


def test_methods_are_all_that_look_at_images_or_those_that_are_named(evaluate: Evaluate) -> None:
    assert moved(evaluate("--methods", "imp")) == [f"imp-from-{A}", f"imp-from-{B}"]
    assert moved(evaluate("--methods", "oes, imp")) == [f"imp-from-{A}", f"oes-from-{A}", f"imp-from-{B}"]
    for methods, unknown in (("snip", "snip"), ("imp,random", "random"), ("imp,x,y", "x, y")):
        line = evaluate.mistake("--methods", methods)
        assert line == f"--methods: the run found has no tickets of {unknown}; it has: imp, oes"


def test_a_run_with_random_masks_alone_has_nothing_to_be_moved(bare: Evaluate) -> None:
    bare.found(A, "random")
    line = bare.mistake()
    assert line == "--methods: the run found has no tickets of any method that looks at images; it has: none"


def test_sources_are_all_or_those_whose_ids_begin_so(evaluate: Evaluate) -> None:
    assert moved(evaluate("--sources", "b")) == [f"imp-from-{B}"]
    assert moved(evaluate("--sources", "B-89ABCDEF")) == [f"imp-from-{B}"]
    assert moved(evaluate("--sources", f"b,{A},b")) == [f"imp-from-{A}", f"oes-from-{A}", f"imp-from-{B}"]
    line = evaluate.mistake("--sources", "a,c")
    assert line == f"--sources: no tickets were found on 'c'; there are some of: {A}, {B}"


def test_tickets_that_were_found_on_all_images_are_a_source_of_their_own(evaluate: Evaluate) -> None:
    evaluate.found("all-images", "imp")
    assert moved(evaluate("--methods", "imp")) == [f"imp-from-{A}", "imp-from-all-images", f"imp-from-{B}"]


def test_names_of_arms_are_short_enough_and_each_another(evaluate: Evaluate) -> None:
    evaluate.store.delete_all(LAYOUT.all_tickets)
    sources = [f"{'a-rather-long-name-' * 2}{at}{'x' * at}-{at:08x}" for at in range(4)]
    sources += [f"{'x' * 40}-0123abcd", f"{'x' * 38}-1-0123abce", f"{'y' * 21}----0123abcf".replace("----", "-0-")]
    for source in sources:
        evaluate.found(source, "imp", "oes", "snip")
    config = evaluate()
    arms = [arm for arm in config.arms if arm.source is not None]
    assert {arm.source for arm in arms} == set(sources)
    assert len({arm.name for arm in arms}) == len(arms) == 3 * len(sources)
    for arm in arms:
        method = arm.like.removeprefix("lottery-")
        assert len(arm.name) <= 40
        assert arm.name.startswith(f"{method}-from-")
        assert str(arm.source).endswith(arm.name.removeprefix(f"{method}-from-"))
        assert arm.name[-8:] == str(arm.source)[-8:]


def test_tickets_of_several_networks_are_a_mistake(evaluate: Evaluate) -> None:
    evaluate.found(B, "imp", network="deep-decoder-8")
    assert evaluate.mistake() == (
        "--tickets found: its tickets are of several networks (deep-decoder-4, deep-decoder-8); those of one can be"
        " moved at a time: choose by --sources"
    )
    assert evaluate("--sources", "a").lottery.network == NETWORK


def test_a_run_without_tickets_and_one_that_is_not_there_are_mistakes(bare: Evaluate) -> None:
    assert bare.mistake() == "--tickets found: this run has found no lottery tickets"
    # A file there that is no round's ticket does not count.
    for file in (f"{NETWORK}.imp.0.start.pt", f"{NETWORK}.imp.0.ticket", "dip.ticket", f"{NETWORK}.imp.0.r01"):
        bare.store.put(f"{LAYOUT.all_tickets}/{A}/{file}", b"x")
    assert bare.mistake() == "--tickets found: this run has found no lottery tickets"
    assert bare.mistake("--tickets", "lost").startswith("no run 'lost' in the store ")


def test_masks_to_compare_with_are_found_blind_also_where_the_tickets_were_not(evaluate: Evaluate) -> None:
    clean = evaluate.config.lottery.model_copy(update={"target": "clean"})
    evaluate.leave(evaluate.config.model_copy(update={"lottery": clean}))
    assert evaluate().lottery.target == "observed"


def test_tickets_that_cannot_be_used_are_found_before_anything_runs(evaluate: Evaluate, encoded: Encoded) -> None:
    assert evaluate.mistake("--set", "network.width=12").startswith(
        f"arm imp-from-{A}: its tickets are of a network of"
    )
    key = LAYOUT.ticket(B, Chain(NETWORK, "imp", 0).round(3))
    evaluate.store.put(key, b"not a ticket")
    name = f"{NETWORK}.imp.0.r03"
    assert evaluate.mistake() == f"arm imp-from-{B}: the run found has no ticket {name} of {B}, or a damaged one"
    assert moved(evaluate("--sources", "a")) == [f"imp-from-{A}", f"oes-from-{A}"]
    (evaluate.images / "c.png").write_bytes(encoded(9, 7, 1))
    assert evaluate.mistake("--sources", "a") == (
        f"arm imp-from-{A}: its tickets are of images with 3 channels, and none of the images has as many"
    )


def test_a_dry_run_prints_the_plan_and_writes_nothing(bare: Evaluate) -> None:
    bare.found(A, "imp")
    before = {key: bare.store.get(key) for key in bare.store.keys("runs")}
    status, out, err = bare.told("--rounds", "1,3", "--set", "task.sigma=10")
    assert (status, err) == (0, "")
    assert {key: bare.store.get(key) for key in bare.store.keys("runs")} == before
    lines = out.splitlines()
    assert lines[0] == "settings    found, task denoise"
    assert [line[12:] for line in lines if line.startswith("arm ")] == [
        f"lottery-dense: {NETWORK}, 1 initialisation, at full size, chosen by held-out",
        f"lottery-random: {NETWORK}, pruned by random in 2 rounds of 25%, 1 initialisation, at full size, chosen by"
        " held-out",
        f"lottery-snip: {NETWORK}, pruned by snip in 2 rounds of 25%, 1 initialisation, at full size, chosen by"
        " held-out",
        f"lottery-decoder: deep decoders the size of {NETWORK}, pruned in 2 rounds of 25%, 1 initialisation, at full"
        " size, chosen by held-out",
        f"imp-from-{A}: {NETWORK}, pruned by imp in 2 rounds of 25% on {A}, 1 initialisation, at full size,"
        " chosen by held-out",
    ]
    assert lines[-1] == "nothing was run"


def test_an_evaluation_is_a_run_like_any_other(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --dry-run it is handed to the function that carries runs out."""
    carried: list[Plan] = []

    def carry_out(options: Any, start: Callable[[], Any]) -> int:
        start()
        return 3

    monkeypatch.setattr("orchestrator.api._start", lambda request: carried.append(request.plan()))
    monkeypatch.setattr("orchestrator.cli.evaluate.carry_out", carry_out)
    where = ["--store", evaluate.store.url, "--images", str(evaluate.images)]
    assert main(["evaluate", *where, "--tickets", "found", "--run", "mine"]) == 3
    (plan,) = carried
    assert (plan.run, plan.command) == ("mine", "evaluate")
    assert json.loads(plan.config.model_dump_json())["lottery"]["tickets"] == "found"
