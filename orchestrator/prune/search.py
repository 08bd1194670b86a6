"""The search for a chain's masks, if they do not come from the fits of its rounds."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from orchestrator.arms.chains import fit_seed, initial_network, iterations_of, kept, weights_seed
from orchestrator.arms.lottery import finds_apart, rounds_of
from orchestrator.errors import TicketError
from orchestrator.fit.blocks import BlockRunner
from orchestrator.fit.checkpoint import weights_to_bytes
from orchestrator.fit.cost import fitted_sides
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import Problem
from orchestrator.prune.tickets import leave_ticket, load_start, read_ticket, ticket_key
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import TOGETHER, start_key
from workers.deterministic import deterministic_operations
from workers.lottery.joint import JointFit
from workers.lottery.masks import Masks, apply, top
from workers.lottery.oes import MaskSearch
from workers.lottery.pruning import at_random, by_magnitude, by_sensitivity
from workers.names import Chain
from workers.networks import Network
from workers.networks.cost import multiply_adds
from workers.objective import Measurement, Objective
from workers.operators import Identity, Operator
from workers.seeds import seed_of


@dataclass
class Search:
    """Finds the masks of a chain that do not come from its fits, and the weights that its rounds begin from.

    Attributes:
        context: The run.
        job: The chain's job, for one image or for several together.
        chain: The chain.
        problem: The inputs of the job's image.
        runner_of: Makes the runner of a round's work.
        iterations: Iterations of the search, with those of earlier attempts.
        seconds: Seconds that the search took, with those of earlier attempts whose checkpoints were found.
    """

    context: RunContext
    job: FitJob
    chain: Chain
    problem: Problem
    runner_of: Callable[[int], BlockRunner]
    iterations: int = 0
    seconds: float = 0.0
    _measured: dict[str, tuple[Measurement, Operator]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Write everything to the store that the chain's rounds need and the store lacks.

        Raises:
            FitDivergedError: weights became infinite or NaN.
            TicketError: a ticket that the search continues from cannot be used, or a reference is missing.
            ValueError: no masks can be found.
        """
        chain = self.chain
        if not chain.traits.prunes or chain.source is not None:
            return
        rounds = rounds_of(self.context.config, chain)
        with deterministic_operations() if self._deterministic else nullcontext():
            if chain.traits.round_by_round:
                self._leave_start()
                if finds_apart(self.context.config, chain):
                    self._prune_round_by_round(max(rounds))
            elif numbers := [number for number in rounds if not self._there(number)]:
                self._prune_at_once(numbers)
            elif chain.traits.learns_masks:
                self.iterations += self._oes_iterations

    @property
    def multiply_adds(self) -> int:
        """What its iterations cost; each is a step of every image."""
        if not self.iterations:
            return 0
        config, network = self.context.config, self._initial()
        step = sum(multiply_adds(network, *fitted_sides(config, image, "full")) for image in self._images)
        return self.iterations * step

    @property
    def _deterministic(self) -> bool:
        # On a CPU every operation is deterministic, and the plain ones are faster.
        return self.context.config.fit.deterministic and self.context.device != "cpu"

    @property
    def _oes_iterations(self) -> int:
        return self.context.config.lottery.oes_iterations or iterations_of(self.context.config)

    @property
    def _images(self) -> Sequence[InputImage]:
        return self.job.together or [self.job.image]

    def _key(self, number: int) -> str:
        chain = replace(self.chain, source=TOGETHER) if self.job.together else self.chain
        return ticket_key(self.context, self.job.image, chain, number)

    def _there(self, number: int) -> bool:
        return self.context.store.exists(self._key(number))

    def _leave(self, number: int, masks: Masks) -> None:
        leave_ticket(self.context, self._key(number), self.chain.round(number), self._images, masks)

    def _initial(self) -> Network:
        return initial_network(self.context.config, self.chain, self._images[0].channels)

    def _run(self, work: JointFit | MaskSearch, iterations: int, number: int) -> BlockRunner:
        """Do work to its end; its checkpoints carry the number of its round."""
        runner = self.runner_of(number)
        # The duration of a step grows with the number of images.
        runner.block = max(1, runner.block // len(self._images))
        runner.restore(work)
        runner.run(work, iterations, lambda: False)
        self.iterations += iterations
        self.seconds += runner.seconds
        return runner

    def _leave_start(self) -> None:
        """Write the weights that the dense network has after ``lottery.rewind`` iterations; the rounds rewind to
        them."""
        rewind, key = self.context.config.lottery.rewind, start_key(self._key(1))
        if rewind and not self.context.store.exists(key):
            network = self._initial()
            # The noise is that of the dense fit, so for one image the weights are exactly those of its dense fit.
            seeds = [fit_seed(self.context.config, image, self.chain, 0) for image in self._images]
            work = self._joint_fit(network, self._objectives(network, seeds))
            runner = self._run(work, rewind, 0)
            self.context.store.create(key, weights_to_bytes(work.network))
            runner.forget()
        else:
            self.iterations += rewind

    def _prune_round_by_round(self, last: int) -> None:
        """Prune a network round by round (iterative magnitude pruning); it is fitted for this purpose only."""
        config = self.context.config
        for number in range(1, last + 1):
            if self._there(number):
                self.iterations += iterations_of(config)
                continue
            network = self._initial()
            before = read_ticket(self.context, self._key(number - 1)) if number > 1 else None
            if config.lottery.rewind:
                load_start(self.context, self._key(number), network)
            if before is not None:
                apply(network, before.masks)
            work = self._joint_fit(network, self._objectives(network, self._seeds(number)))
            runner = self._run(work, iterations_of(config), number)
            keep = kept(config, network, number)
            self._leave(
                number, by_magnitude(network, None if before is None else before.masks, keep, config.lottery.exempt)
            )
            runner.forget()

    def _prune_at_once(self, numbers: Sequence[int]) -> None:
        """Make the masks of several rounds from the values that a method gives to the weights at initialisation."""
        config, exempt = self.context.config, self.context.config.lottery.exempt
        network = self._initial()
        keep = {number: kept(config, network, number) for number in numbers}
        if not self.chain.traits.sees_images:
            seed = weights_seed(config, self.chain)
            masks = {number: at_random(network, keep[number], exempt, seed) for number in numbers}
            runner = None
        else:
            runner, values = self._values(network)
            masks = {number: top(values, keep[number]) for number in numbers}
        for number in numbers:
            self._leave(number, masks[number])
        if runner is not None:
            runner.forget()

    def _values(self, network: Network) -> tuple[BlockRunner | None, dict[str, Tensor]]:
        config, exempt = self.context.config, self.context.config.lottery.exempt
        objectives = self._objectives(network, self._seeds(0))
        if not self.chain.traits.learns_masks:
            return None, by_sensitivity(network.to(self.context.device), objectives, exempt)
        # The masks are learnt once, for the sparsest round, and then cut to the size of every round.
        prior = kept(config, network, max(rounds_of(config, self.chain))) / kept(config, network, 0)
        work = MaskSearch(
            network,
            objectives,
            exempt=exempt,
            prior=prior,
            strength=config.lottery.oes_strength,
            seed=seed_of(weights_seed(config, self.chain), *(image.id for image in self._images)),
            device=self.context.device,
        )
        runner = self._run(work, self._oes_iterations, 0)
        return runner, work.logits()

    def _joint_fit(self, network: Network, objectives: Sequence[Objective]) -> JointFit:
        rate, device = self.context.config.fit.learning_rate, self.context.device
        return JointFit(network, objectives, learning_rate=rate, device=device)

    def _seeds(self, number: int) -> list[int]:
        """Return for each image the seed of the noise with which masks are found; the fits use other seeds."""
        config, chain = self.context.config, self.chain
        words = "lottery masks", chain.network, chain.initialisation, number
        return [seed_of(config.seed, image.id, *words) for image in self._images]

    def _objectives(self, network: Network, seeds: Sequence[int]) -> list[Objective]:
        """Return the objectives that masks are found on: for every image what its fits may see, or the clean image."""
        noise, device = self.context.config.fit.input_noise, self.context.device
        objectives = []
        for image, seed in zip(self._images, seeds, strict=True):
            if image.id not in self._measured:
                self._measured[image.id] = self._measurement(image)
            measurement, operator = self._measured[image.id]
            objectives.append(Objective(network, measurement, operator, input_noise=noise, seed=seed, device=device))
        return objectives

    def _measurement(self, image: InputImage) -> tuple[Measurement, Operator]:
        config = self.context.config
        problem = self.problem if image == self.job.image else Problem(self.context, image)
        if config.lottery.target == "observed":
            return problem.measurement(problem.view("full")), config.task.make().operator_of(problem.observation)
        # With this setting the masks are not blind; the results say so.
        if problem.reference is None:
            raise TicketError("lottery.target=clean: the image has no clean reference")
        known = np.logical_and.reduce(np.isfinite(problem.reference))
        measurement = Measurement(
            np.where(known, problem.reference, np.float32(0)),
            np.zeros_like(known),
            None if known.all() else known,
        )
        return measurement, Identity()
