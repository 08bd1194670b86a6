"""The way of a lottery's arm: it waits for its chains, whose rounds are the cohort that it decides over."""

from collections.abc import Sequence

from orchestrator.arms.arm import Arm
from orchestrator.arms.lottery import chains_of, finds_apart, rounds_of
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.ways.way import ArmStage, Way, Wishes
from orchestrator.schedule.ways.wishes import TO_THE_END, WantMasks
from orchestrator.score.score import Scored
from orchestrator.settings import Config
from workers.names import Chain, FitName


class LotteryWay(Way):
    """An arm that prunes a network.

    A chain begins at once, or after the chain whose dense fit it is pruned by, or after its masks have been searched on
    all images of the run together.
    """

    def __init__(self, image: InputImage, arm: Arm, config: Config, tally: Tally) -> None:
        super().__init__(image, arm, (), tally)
        self._config = config
        self._follower: dict[FitName, Chain] = {}
        if arm.networks is None:
            self.stage = ArmStage.WAITING

    def begin(self) -> Wishes:
        """Fit the chains of the arm's own network; do nothing while the arm waits for another arm's pick."""
        return [] if self.arm.networks is None else self._prune(self.arm.networks[0])

    def on_network_picked(self, network: str | None) -> Wishes:
        """Prune the network that another arm has picked for the image; with None there is nothing to prune."""
        return self._decide() if network is None else self._prune(network)

    def on_masks_searched(self, chain: Chain) -> Wishes:
        """Fit a chain after the search on all images; the chain itself records if that search found no masks."""
        return [self._want([chain], TO_THE_END)]

    def on_fit(self, name: FitName, *, done: bool) -> Wishes:
        """React to a chain that has ended: begin the one that is pruned by its dense fit.

        That chain itself records if there is no dense fit.
        """
        follower = self._follower.pop(name, None)
        wishes = [] if follower is None else [self._want([follower], TO_THE_END)]
        return [*wishes, *super().on_fit(name, done=done)]

    def _prune(self, network: str) -> Wishes:
        self.stage = ArmStage.COHORT
        chains = chains_of(self._config, self.arm, network)
        rounds = [chain.round(number) for chain in chains for number in rounds_of(self._config, chain)]
        self.cohort = tuple(Scored(name, float(place)) for place, name in enumerate(rounds))
        self.alive = list(chains)
        self._follower = {chain.dense: chain for chain in chains if not finds_apart(self._config, chain)}
        self.running = set(chains)
        together = [chain for chain in chains if chain.source is not None and self._config.lottery.tickets is None]
        later: Sequence[FitName] = [*self._follower.values(), *together]
        return [
            self._want([chain for chain in chains if chain not in later], TO_THE_END),
            *(WantMasks(chain) for chain in together),
        ]
