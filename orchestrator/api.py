"""The Python interface: the functions that the commands call, and that ``import orchestrator`` offers.

    import orchestrator
    run = orchestrator.submit("photos/", task="denoise", effort="quick")   # returns when its driver has started
    run.wait()                                                             # until every image has its row
    table = run.results()                                                  # a pyarrow.Table; .to_pandas()
    pixels = run.restored("a.png")                                         # (channels, height, width) in [0, 1]

A run is driven by a process of its own on this machine, unless `Where` says otherwise, so that a notebook stays free.
That process goes on when this one ends, and when Ctrl-C ends a `Run.wait`; `Run.cancel` stops it. Any process that can
read the store can make a `Run` from a name and follow it.

Every error that is raised on purpose is an `orchestrator.errors.OrchestratorError`: a `UserMistakeError` where a
request cannot be carried out (a `ConfigError` lists all mistakes in settings), a `StoreError` where the store could not
be read or written, and a `RunFailedError`, `RunCancelledError` or `RayLostError` where a run did not finish. Importing
this module imports neither torch nor Ray nor pyarrow.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, cast

from orchestrator.drive.handle import Run, Silent, store_at
from orchestrator.drive.upkeep import import_run, prune_store
from orchestrator.errors import UserMistakeError
from orchestrator.plan.given import folders_given, source_given
from orchestrator.run.inputs import Source
from orchestrator.run.progress import Listener
from orchestrator.run.record import check_run_name, list_runs, new_run_name, read_run
from orchestrator.settings.effort import Effort, Wanted, wanted_of
from orchestrator.settings.reading import Assigned, assignments_of

if TYPE_CHECKING:
    from orchestrator.plan.request import Request

__all__ = ["Run", "What", "Where", "evaluate", "import_run", "prune_store", "resume", "runs", "study", "submit"]


class What(TypedDict, total=False):
    """The inputs and settings of a run. Everything may be left out.

    Attributes:
        references: the folder of clean images of the same names and sizes, which only PSNR and SSIM are computed from.
        masks: inpainting: the folder of masks of the images' names and sizes.
        mask_known: which of a mask's pixels are known, ``white`` (default) or ``black``.
        task: the degradation by name (docs/tasks.md).
        sigma: the Gaussian noise that ``simulate`` adds, in 8-bit grey levels, or the interval that it is drawn from.
        factor: super-resolve: how many times larger the restored image is: 2, 3, 4 or 8.
        kernel: deblur: ``"gaussian SIGMA"``, ``"motion LENGTH DEGREES"`` (pixels), a .npy or text file, or rows.
        quality: jpeg: the quality at which ``simulate`` compresses, from 1 to 95.
        measurements, matrix: compressed-sensing: how many values are measured, and the kind of the matrix.
        effort: the sizes, ``quick``, ``standard`` or ``thorough``; where neither it nor ``config`` is given, the sizes
            suit the machine (docs/tasks.md).
        config: a file of settings, or the name of one that ships.
        settings: settings that override all of those, by dotted name.
        store: a folder or ``s3://bucket/prefix``; None means ``$DIP_STORE``, else ``./dip-store``.
        run: the run's name; a run of the same name, settings and images is resumed. None makes a name from the time.
    """

    references: str | Path | None
    masks: str | Path | None
    mask_known: Literal["white", "black"]
    task: str | None
    sigma: float | tuple[float, float] | None
    factor: int | None
    kernel: str | Sequence[Sequence[float]] | None
    quality: int | None
    measurements: int | None
    matrix: str | None
    effort: Effort | None
    config: str | Path | None
    settings: Assigned
    store: str | Path | None
    run: str | None


class Where(TypedDict, total=False):
    """Where a run is driven, and what this process does meanwhile. Everything may be left out.

    Attributes:
        address: a Ray cluster: the URL of its dashboard, on whose head the driver is started as a job; or ``auto``, the
            cluster that this machine belongs to. None (default) is this machine alone.
        background: True (default) starts a driver of its own and returns once the images are in the store. False makes
            this process the driver: it blocks until the run has ended, and Ctrl-C or SIGTERM stop the run. A job on a
            cluster is always in the background.
        wait: True calls `Run.wait` before the run is returned; the default is False.
        ship_code: send this machine's code to a cluster that has another state of it.
        dashboard: start Ray's dashboard; the default is False.
        listener: receives the progress while this process works or waits; see `orchestrator.run.progress.Listener`.
    """

    address: str | None
    background: bool
    wait: bool
    ship_code: bool
    dashboard: bool
    listener: Listener | None


class Options(What, Where, total=False):
    """All options of a new run."""


def submit(
    images: str | Path, *, simulate: bool = False, arms: str | Sequence[str] | None = None, **options: Unpack[Options]
) -> Run:
    """Restore a folder of images.

    Args:
        images: The folder; its images are degraded, or clean where they are to be degraded first.
        simulate: The images are clean: degrade them by the task, restore them, report PSNR.
        arms: The methods that restore every image, by name; None takes those of the settings or the effort.
        options: See `What` and `Where`.

    Returns:
        The run; `Where` says when.

    Raises:
        UserMistakeError: the request cannot be carried out.
        KeyboardInterrupt: with ``background=False``: the run was stopped, and finished work is in the store. Otherwise:
            this process was stopped while it brought images to the store; the same call with the run's name continues.
        OrchestratorError: the errors that the head of this module lists, if this process drives the run or waits for
            it.
    """
    what, where = _split(options)
    return _start(submission(images, simulate=simulate, arms=arms, **what), **where)


def study(images: str | Path, *, candidates: str | int, **options: Unpack[Options]) -> Run:
    """Fit every candidate on every image, and find the best predictors. This is for researchers; it takes long.

    Args:
        images: The folder of images, clean ones that are degraded first, or degraded ones with ``references``.
        candidates: A CSV file of ids, the name of a list that ships (isnas522), or a number of random ones.
        options: See `What` and `Where`.

    Returns:
        The run; the study's table and figures are in ``study/`` of its folder.

    Raises:
        OrchestratorError: as `submit` does.
    """
    what, where = _split(options)
    return _start(study_request(images, candidates=candidates, **what), **where)


def evaluate(
    images: str | Path,
    *,
    tickets: str,
    rounds: str | None = None,
    methods: str | None = None,
    sources: str | None = None,
    simulate: bool = False,
    trust: bool = False,
    **options: Unpack[Options],
) -> Run:
    """Train the lottery tickets of an earlier run on other images, or for another task.

    Args:
        images: The folder of images.
        tickets: The run, in the same store, that found the tickets; its settings are used where no others are given.
        rounds: Rounds whose tickets are trained, with commas between them, or ``all``; None takes the last.
        methods: Methods of imp, snip and oes, with commas between them; None takes all of these that the run has.
        sources: Ids of images that tickets were found on, or their beginnings, with commas between them; None takes
            all.
        simulate: The images are clean: degrade them by the task, restore them, report PSNR.
        trust: Import the code that the settings of that run name, if they name any.
        options: See `What` and `Where`.

    Returns:
        The run.

    Raises:
        OrchestratorError: as `submit` does.
    """
    what, where = _split(options)
    request = evaluation(
        images, tickets=tickets, rounds=rounds, methods=methods, sources=sources, simulate=simulate, trust=trust, **what
    )
    return _start(request, **where)


def resume(
    run: str,
    *,
    settings: Assigned = (),
    store: str | Path | None = None,
    images: str | Path | None = None,
    references: str | Path | None = None,
    masks: str | Path | None = None,
    trust: bool = False,
    retry_failed: bool = False,
    **where: Unpack[Where],
) -> Run:
    """Resume a run that was interrupted, cancelled or lost, from the store alone.

    Args:
        run: Its name.
        settings: Other values for settings that change no result, such as ``resources.parallel``; or the run's own
            value of a setting that names code, which is not imported on the word of the store alone.
        store: As in `What`.
        images: The folder of its images, which is read only if the store lacks some of them.
        references, masks: As in `What`; needed only with ``images``, and if the run was begun with them.
        trust: Import the code and read the folders that the run's record names, whoever may have written that record.
        retry_failed: Give images without a result another try; with ``images``, also files that could not be read.
        where: See `Where`.

    Returns:
        The run.

    Raises:
        UserMistakeError: there is no such run, another process drives it, or a setting would change its results. Or its
            record names code or folders that are not given here, and is not trusted.
        OrchestratorError: as `submit` does.
    """
    folders, opened = folders_given(images, references, masks), store_at(store)
    read_run(opened, run)

    from orchestrator.plan.request import OldRun  # imported here: it imports torch

    request = OldRun(opened, run, tuple(assignments_of(settings)), folders, trust)
    if retry_failed:
        from orchestrator.drive.retry import try_again

        try_again(request, where.get("listener") or Silent())
    return _start(request, **where)


def runs(store: str | Path | None = None) -> list[Run]:
    """All runs of a store, oldest first; ``store`` as in `What`.

    Last come those that cannot be read: their `Run.status` raises the reason.

    Raises:
        StoreError: the store cannot be read.
    """
    opened = store_at(store)
    records, unreadable = list_runs(opened)
    names = [record.run for record in records] + [each.run for each in unreadable]
    return [Run.of(opened, name) for name in names]


def submission(
    images: str | Path, *, simulate: bool = False, arms: str | Sequence[str] | None = None, **what: Unpack[What]
) -> "Request":
    """The request that `submit` starts; its ``plan()`` is what a dry run shows."""
    names = arms if arms is None or isinstance(arms, str) else ",".join(arms)
    source = _source(images, what, simulate=simulate)
    wanted = wanted_of(what, assignments_of(what.get("settings", ())), arms=names)
    return _new_run(source, what, wanted, "submit", simulate=simulate)


def study_request(images: str | Path, *, candidates: str | int, **what: Unpack[What]) -> "Request":
    """The request that `study` starts."""
    from orchestrator.plan.study import study_settings

    source = _source(images, what)
    wanted = wanted_of(what, [*assignments_of(what.get("settings", ())), *study_settings(str(candidates))])
    wanted = replace(wanted, typed={"score.candidates": "--candidates"})
    # Without references the images are the clean ones.
    return _new_run(source, what, wanted, "study", simulate=what.get("references") is None)


def evaluation(
    images: str | Path,
    *,
    tickets: str,
    rounds: str | None = None,
    methods: str | None = None,
    sources: str | None = None,
    simulate: bool = False,
    trust: bool = False,
    **what: Unpack[What],
) -> "Request":
    """The request that `evaluate` starts."""
    source, opened = _source(images, what, simulate=simulate), store_at(what.get("store"))
    found = read_run(opened, tickets)

    from orchestrator.plan.evaluation import TicketChoice, evaluation_settings
    from orchestrator.plan.plan import config_of

    choice = TicketChoice(tickets, rounds, methods, sources)
    assignments = [*evaluation_settings(choice, opened, found.config), *assignments_of(what.get("settings", ()))]
    wanted = wanted_of(what, assignments)
    if wanted.base is None:
        wanted = replace(wanted, base=config_of(found), trust=trust)
    return _new_run(source, what, wanted, "evaluate", simulate=simulate)


def _split(options: Options) -> tuple[What, Where]:
    """Separate the options of `What` from those of `Where`.

    Raises:
        TypeError: there is no such option, as with any function.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"there is no option {sorted(unknown)[0]!r}; there are: {', '.join(Options.__annotations__)}")
    what = {name: value for name, value in options.items() if name in What.__annotations__}
    where = {name: value for name, value in options.items() if name in Where.__annotations__}
    return cast(What, what), cast(Where, where)


def _source(images: str | Path, what: What, *, simulate: bool = False) -> Source:
    files = (what.get("references"), what.get("masks"), what.get("config"))
    return source_given(images, *files, mask_known=what.get("mask_known", "white"), simulate=simulate)


def _new_run(source: Source, what: What, wanted: Wanted, command: str, *, simulate: bool) -> "Request":
    run = what.get("run")
    name = new_run_name() if run is None else check_run_name(run)
    store = store_at(what.get("store"))

    from orchestrator.plan.request import NewRun  # imported here: it imports torch

    return NewRun(store, name, source, wanted, simulate, command)


def _start(
    request: "Request",
    *,
    address: str | None = None,
    background: bool = True,
    wait: bool = False,
    ship_code: bool = False,
    dashboard: bool = False,
    listener: Listener | None = None,
) -> Run:
    """Start a run, as `Where` says."""
    elsewhere = address is not None and "://" in address
    if ship_code and not elsewhere:
        raise UserMistakeError("ship_code: it goes with the address of a cluster's dashboard, http://...")
    # Imported here: it imports torch and Ray.
    from orchestrator.drive import start

    heard = listener or Silent()
    if address is not None and elsewhere:
        begun = start.begin_on_cluster(request, heard, address=address, ship_code=ship_code)
    elif background:
        begun = start.begin_in_background(request, heard, address=address, dashboard=dashboard)
    else:
        start.drive_here(request, heard, address=address, dashboard=dashboard)
        return Run.of(request.store, request.run)
    run = Run.of(request.store, request.run, after=begun.after, why_it_ended=begun.why_it_ended)
    return run.wait(heard) if wait else run
