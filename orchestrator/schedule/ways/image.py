"""The way of an image from its turn to its rows. It turns its arms' wishes into actions and shares their fits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from orchestrator.arms.arm import Arm
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitState
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.actions import Action, Ask, Start
from orchestrator.schedule.crashes import History
from orchestrator.schedule.questions import Assemble, Collect, PickNetwork, Score
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.ways.lottery import LotteryWay
from orchestrator.schedule.ways.shared import Begin, Served, SharedFits
from orchestrator.schedule.ways.tiles import TileFits
from orchestrator.schedule.ways.way import ArmStage, Way
from orchestrator.schedule.ways.wishes import FitKey, Want, WantMasks, Wish
from orchestrator.score.score import Scored
from orchestrator.settings import Config
from workers.names import Chain, FitName
from workers.tiles import Tiling


class ImageStage(Enum):
    """The stages of an image.

    WAITING (for its turn and its bank) -> SCORING -> FITTING (its arms go their ways) -> COLLECTING -> ENDED. An image
    may go from any stage to ENDED with rows that give the reason.
    """

    WAITING = "waiting"
    SCORING = "scoring"
    FITTING = "fitting"
    COLLECTING = "collecting"
    ENDED = "ended"


@dataclass(frozen=True)
class MasksWanted:
    """A way of an image wants a chain's masks, which are searched on all images together."""

    image: "ImageWay"
    way: LotteryWay
    chain: Chain


class ImageWay:
    """One image on its way through the stages of a run.

    Args:
        image: the image.
        arms: the methods that restore it.
        config: the run's settings.
        previews: whether the report shows its pictures.
        gpu_share: the share of a GPU that a fit reserves.
        tally: the counts of the run.
    """

    def __init__(
        self,
        image: InputImage,
        arms: Sequence[Arm],
        config: Config,
        *,
        previews: bool,
        gpu_share: Callable[[InputImage, FitKey], float],
        tally: Tally,
    ) -> None:
        self.tiles: TileFits | None = None
        self.image, self.stage = image, ImageStage.WAITING
        self.ways: list[Way] = []
        self.fits: SharedFits[Way] = SharedFits()
        self._arms, self._config, self._previews = arms, config, previews
        self._gpu_share, self._tally = gpu_share, tally
        self._network_asked = False

    @property
    def has_ended(self) -> bool:
        """Whether the image has ended, so that no event matters to it any more."""
        return self.stage is ImageStage.ENDED

    def begin(self, without: frozenset[str], tiling: Tiling | None = None) -> list[Action | MasksWanted]:
        """Score the image, whose turn it is; its fits at full size are cut into these tiles, if any."""
        self.stage = ImageStage.SCORING
        self.tiles = None if tiling is None else TileFits(tiling)
        return [Ask(Score(self.image, without, tiling))]

    def waits_for(self, job: FitJob) -> bool:
        """Whether the end of a job's trial still matters."""
        key = (job.view, job.name)
        if job.tile is None:
            return self.fits.running(key)
        return self.tiles is not None and self.tiles.running(key, job.tile)

    def history(self, job: FitJob) -> History:
        """How often trials of a job have crashed."""
        key = (job.view, job.name)
        return self.fits.history(key) if self.tiles is None or job.tile is None else self.tiles.history(key, job.tile)

    def on_crash(self, job: FitJob, history: History) -> None:
        """Take note of the crashes of a job."""
        key = (job.view, job.name)
        if self.tiles is None or job.tile is None:
            self.fits.crashed(key, history)
        else:
            self.tiles.crashed(key, job.tile, history)

    def on_scored(self, cohorts: Mapping[str, Sequence[Scored]]) -> list[Action | MasksWanted]:
        """Begin the ways of all arms, whose cohorts are known now."""
        self._tally.add("scored")
        self.stage = ImageStage.FITTING
        wishes: list[tuple[Way, Wish]] = []
        # The wishes of all arms are gathered before any fit starts: how a fit begins depends on the arms that share it.
        for arm in self._arms:
            way = (
                LotteryWay(self.image, arm, self._config, self._tally)
                if arm.is_lottery
                else Way(self.image, arm, cohorts.get(arm.name, ()), self._tally)
            )
            self.ways.append(way)
            wishes += [(way, wish) for wish in way.begin()]
        return self._carry(wishes)

    def on_fit(self, key: FitKey) -> list[Action | MasksWanted]:
        """React to a trial that has paused or ended, after `SharedFits` has taken note of it."""
        return self._serve([key])

    def on_tile(self, job: FitJob, *, paused: bool = False) -> list[Action | MasksWanted]:
        """React to a tile that has ended, or ``paused``: once all have, they are made one fit."""
        key = (job.view, job.name)
        if self.tiles is None or job.tile is None:
            raise ValueError(f"the image {self.image.id} is not cut")
        self._tally.add("tiles")
        if not self.tiles.ended(key, job.tile, paused=paused):
            return []
        return [Ask(Assemble(self.image, job.name, self.tiles.tiling, job.until))]

    def on_assembled(self, name: FitName, state: FitState) -> list[Action | MasksWanted]:
        """React to tiles that are one fit now, which is in this state."""
        key: FitKey = ("full", name)
        if state == "paused":
            self.fits.paused(key)
        else:
            self.fits.ended(key, done=state == "done")
        return self.on_fit(key)

    def on_stopped(self, key: FitKey, iteration: int) -> list[Action | MasksWanted]:
        """End a fit for the arms of its contest, which has stopped it; for other arms that want it, it begins again."""
        losers = [way for way in self.fits.waiting(key) if way.arm.asynchronous]
        self.fits.stopped(key, losers)
        lost = [(way, wish) for way in losers for wish in way.on_contest_lost(key[1], iteration)]
        return [*self._carry(lost), *self._advance(), *self._serve([key])]

    def on_answer(self, way: Way, wishes: Sequence[Wish]) -> list[Action | MasksWanted]:
        """Carry out the wishes of an arm after the answer to its question."""
        return [*self._carry([(way, wish) for wish in wishes]), *self._advance()]

    def on_network_picked(self, network: str | None) -> list[Action | MasksWanted]:
        """Begin the lotteries that waited for the network that the first arm has now picked."""
        waiting = [way for way in self.ways if isinstance(way, LotteryWay) and way.stage is ArmStage.WAITING]
        return self._carry([(way, wish) for way in waiting for wish in way.on_network_picked(network)])

    def on_masks_searched(self, way: LotteryWay, chain: Chain) -> list[Action | MasksWanted]:
        """Begin a chain whose masks have been searched on all images."""
        return self._carry([(way, wish) for wish in way.on_masks_searched(chain)])

    def way_of(self, arm: Arm) -> Way:
        """Return the way of an arm."""
        return next(way for way in self.ways if way.arm.name == arm.name)

    def _carry(self, wishes: Sequence[tuple[Way, Wish]]) -> list[Action | MasksWanted]:
        """Turn wishes into actions; a fit that several arms want begins once."""
        actions: list[Action | MasksWanted] = []
        keys: list[FitKey] = []
        for way, wish in wishes:
            if isinstance(wish, Want):
                self.fits.want(way, wish.keys, wish.until)
                keys += wish.keys
            elif isinstance(wish, WantMasks):
                assert isinstance(way, LotteryWay)  # noqa: S101 - only lotteries have masks
                actions.append(MasksWanted(self, way, wish.chain))
            else:
                actions.append(Ask(wish))
        return [*self._serve(keys), *actions] if keys else actions

    def _serve(self, keys: Sequence[FitKey]) -> list[Action | MasksWanted]:
        """Start those of these fits that must start, and let the arms go on that waited for a fit that is there."""
        begin, served = self.fits.serve(keys)
        actions: list[Action | MasksWanted] = []
        if begin:
            # Images that are nearly finished go before images that have just begun, so that the first results come
            # early.
            urgent = any(way.stage is ArmStage.FULL for each in begin for way in each.waiting)
            actions.append(Start(tuple(job for each in begin for job in self._jobs(each)), first=urgent))
        for each in served:
            actions += self._on_served(each)
        return [*actions, *self._advance()] if served else actions

    def _on_served(self, served: Served[Way]) -> list[Action | MasksWanted]:
        wishes = served.who.on_fit(served.key[1], done=served.done)
        return self._carry([(served.who, wish) for wish in wishes])

    def _jobs(self, begin: Begin[Way]) -> Iterator[FitJob]:
        """The trials of a fit: one, or one for each tile."""
        job = self._job(begin)
        if self.tiles is None or job.view != "full":
            yield job
            return
        tiles = self.tiles.begin(begin.key)
        self._tally.expect("tiles", len(tiles))
        for tile in tiles:
            of_tile = replace(job, tile=tile)
            yield replace(of_tile, gpus=self._gpu_share(of_tile.fitted, begin.key))

    def _job(self, begin: Begin[Way]) -> FitJob:
        view, name = begin.key
        # A contest may stop a fit only if no arm outside the contest wants it.
        contest = begin.waiting[0].arm.name if all(way.arm.asynchronous for way in begin.waiting) else None
        gpus = self._gpu_share(self.image, begin.key)
        return FitJob(self.image, view, name, begin.until, None if view == "full" else contest, gpus)

    def _advance(self) -> list[Action | MasksWanted]:
        """Act on arms that have become ready: ask for the pick that lotteries wait for, and collect the image."""
        if self.stage is not ImageStage.FITTING:
            return []
        picker = next((way for way in self.ways if not way.arm.is_lottery), None)
        if picker is not None and picker.stage is ArmStage.READY and not self._network_asked and self._waits_for_pick:
            self._network_asked = True
            return [Ask(PickNetwork(self.image, picker.chosen))]
        if any(way.stage is not ArmStage.READY for way in self.ways):
            return []
        self.stage = ImageStage.COLLECTING
        return [Ask(Collect(self.image, tuple(way.chosen for way in self.ways), self._previews))]

    @property
    def _waits_for_pick(self) -> bool:
        return any(way.stage is ArmStage.WAITING for way in self.ways)
