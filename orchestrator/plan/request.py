"""A user's request for a run before anything is checked; it makes the plan for the machines at hand."""

from dataclasses import dataclass, replace

from orchestrator.plan.effort import choose_effort
from orchestrator.plan.make import AHEAD, Resolve, make_plan, resolve_here, resume_plan
from orchestrator.plan.plan import Plan
from orchestrator.run.inputs import Source
from orchestrator.settings.effort import Wanted
from orchestrator.store import Store


@dataclass(frozen=True)
class NewRun:
    """A run of these images with these settings; ``run`` is its name, ``command`` the kind of run."""

    store: Store
    run: str
    source: Source
    wanted: Wanted
    simulate: bool
    command: str

    def plan(self, resolve: Resolve | None = resolve_here, ahead: int | None = AHEAD) -> Plan:
        """Plan the run for some machines; `orchestrator.plan.make.make_plan` documents the arguments and the errors."""
        sizing, config = choose_effort(self.wanted, resolve)
        plan = make_plan(
            self.store,
            config,
            self.source,
            simulate=self.simulate,
            run=self.run,
            command=self.command,
            resolve=resolve,
            ahead=ahead,
        )
        return replace(plan, sizing=sizing)


@dataclass(frozen=True)
class OldRun:
    """A run to be resumed.

    Attributes:
        store: Where it is.
        run: Its name.
        assignments: Settings of the form ``a.b=value`` that do not change results.
        source: The folders of its images, for a run whose images are not all in the store; None if none are given.
        trust: Whether its record may name code to be imported, and folders to be read.
    """

    store: Store
    run: str
    assignments: tuple[str, ...] = ()
    source: Source | None = None
    trust: bool = False

    def plan(self, resolve: Resolve | None = resolve_here, ahead: int | None = AHEAD) -> Plan:
        """Plan the rest of the run; `orchestrator.plan.make.resume_plan` documents the errors."""
        return resume_plan(
            self.store, self.run, self.assignments, source=self.source, trust=self.trust, resolve=resolve, ahead=ahead
        )


Request = NewRun | OldRun
