"""The searches for the masks of a lottery, replaced by waiting: a mask says what it was found from."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from workers.names import Chain

STEP_S = 0.2
_WEIGHTS = 100


class Network:
    """A network is what its weights came from, and its masks."""

    def __init__(self, weights: str) -> None:
        self.weights, self.masks = weights, ""

    def to(self, device: str) -> "Network":
        return self


@dataclass
class Mask:
    """A mask is a text: what it was found from."""

    found: str

    def __invert__(self) -> Any:
        return np.ones(1, bool)


@dataclass(frozen=True)
class Ticket:
    """Stands for `workers.lottery.tickets.Ticket`; the masks are a text."""

    network: str
    out_channels: int
    width: int
    input_channels: int
    seed: int
    method: str
    initialisation: int
    round: int
    source: tuple[str, ...]
    task: str
    target: str
    rewind: int
    masks: dict[str, Mask]

    @property
    def sparsity(self) -> float:
        return self.round / 10

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self) | {"masks": self.masks["all"].found}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Ticket":
        found = json.loads(data)
        own = {field.name: found[field.name] for field in fields(cls)}
        return cls(**own | {"source": tuple(own["source"]), "masks": {"all": Mask(own["masks"])}})


class _Work:
    """A search that takes time; stands for `JointFit` and `MaskSearch`."""

    def __init__(self, network: Network, objectives: Any, **_: object) -> None:
        self.network, self.iteration = network, 0
        self._kernel, self._of = objectives[0].kernel, [each.image for each in objectives]

    def launch(self, iterations: int) -> Callable[[], float]:
        return partial(self.advance, iterations)

    def advance(self, iterations: int) -> float:
        self._kernel.sleep(iterations * STEP_S)
        self.iteration += iterations
        self.network.weights += f" fitted {iterations} to {self._of}"
        return 0.5

    def logits(self) -> dict[str, Mask]:
        return {"all": Mask(f"learnt on {self._of} from {self.network.weights.split(' fitted')[0]}")}


def _pruned(weights: str, before: Any, keep: int) -> dict[str, Mask]:
    # Blocks of iterations differ between attempts; what matters is from where, and on what.
    parts = weights.split(" fitted ")
    on = sorted({part.partition(" to ")[2] for part in parts[1:]})
    return {"all": Mask(f"{keep} of [{parts[0]}; {on}] after [{before['all'].found if before else ''}]")}


def _apply(network: Network, masks: dict[str, Mask]) -> None:
    network.masks = masks["all"].found


def _initial(config: Any, chain: Chain, channels: int) -> Network:
    return Network(f"{chain.network} {chain.initialisation}")


def masks_replaced(problem: Any) -> dict[str, Any]:
    """The replacements, by what they replace."""
    common = {
        "initial_network": _initial,
        "kept": lambda config, network, number: _WEIGHTS - 10 * number,
        "by_magnitude": lambda network, before, keep, exempt: _pruned(network.weights, before, keep),
        "apply": _apply,
    }

    def objective(network: Network, measurement: Any, operator: Any, **_: object) -> Any:
        return SimpleNamespace(image=measurement.image, kernel=measurement.kernel)

    def measured(search: Any, image: Any) -> Any:
        of = problem(search.context, image)
        assert of.picture
        return SimpleNamespace(image=image.id, kernel=search.context.__dict__["watcher"].kernel), None

    def load_weights(network: Network, data: bytes, place: str) -> None:
        network.weights = data.decode()

    return {
        **{
            f"orchestrator.prune.{module}.{name}": each
            for module in ("rounds", "search")
            for name, each in common.items()
        },
        "orchestrator.prune.search.multiply_adds": lambda network, height, width: _WEIGHTS,
        "orchestrator.prune.chain.Problem": problem,
        "orchestrator.prune.rounds.applied": lambda network: {"all": Mask(network.masks)} if network.masks else {},
        "orchestrator.prune.rounds.convolution_weights": lambda network: _WEIGHTS,
        "orchestrator.prune.rounds.parameter_count": lambda network: _WEIGHTS,
        "orchestrator.prune.rounds.decoder_name": lambda config, network, number, channels: f"decoder {number}",
        "orchestrator.prune.rounds.prior_of": lambda name: SimpleNamespace(build=lambda *_, **__: Network(name)),
        "orchestrator.prune.search.Search._measurement": measured,
        "orchestrator.prune.search.Objective": objective,
        "orchestrator.prune.search.JointFit": _Work,
        "orchestrator.prune.search.MaskSearch": _Work,
        "orchestrator.prune.search.at_random": lambda network, keep, exempt, seed: {"all": Mask(f"{keep} at random")},
        "orchestrator.prune.search.by_sensitivity": lambda network, objectives, exempt: {
            "all": Mask(f"sensitivity to {[each.image for each in objectives]}")
        },
        "orchestrator.prune.search.top": lambda values, keep: {"all": Mask(f"{keep} of [{values['all'].found}]")},
        "orchestrator.prune.search.weights_to_bytes": lambda network: network.weights.split(" fitted")[0].encode(),
        "orchestrator.prune.tickets.Ticket": Ticket,
        "orchestrator.prune.tickets.load_weights": load_weights,
        "orchestrator.prune.moved.header": json.loads,
        "orchestrator.plan.checks.check_lottery": lambda config: None,
    }
