"""The rows of an image: one for each arm, and for a lottery one for each of its rounds."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.collect.evidence import Evidence
from orchestrator.collect.fits import Chosen, Fits, Fitted, by_final_order
from orchestrator.collect.restored import restore
from orchestrator.fit.fit import stopping_of
from orchestrator.images import preview
from orchestrator.pick.decide import Decision
from orchestrator.run.rows import NOT_BLIND, Row, RowState
from workers.names import Round


def arm_row(choice: Chosen, fits: Fits, evidence: Evidence, *, previews: bool) -> Row:
    """Write an arm's restored files of the image and return its row."""
    context, arm, decision = evidence.context, choice.arm, choice.decision
    cohort = fits.get(arm.view, [scored.name for scored in choice.cohort])
    # A cohort fitted at full size needs no second fit: the same fit is both.
    final = fits.get("full", choice.full)
    used = cohort if arm.view == "full" else final + cohort
    if arm.is_lottery:
        used = used + fits.searches(choice)
    cost = choice.cost(used)
    stopping = stopping_of(context.config)
    falls_back = decision.correlated and stopping.where_correlated != stopping.name
    row = Row(
        evidence.image.name,
        arm.name,
        RowState.FAILED,
        rule=decision.rule,
        stopping=stopping.where_correlated if decision.correlated else stopping.name,
        iterations=cost.iterations,
        seconds=cost.seconds,
        multiply_adds=cost.multiply_adds,
    )
    done = by_final_order(choice, fits, [fit for fit in final if fit.record.state == "done"])
    if not done:
        return replace(row, reason=_why_nothing(decision, final))
    notes = [_why_not_held_out(decision)] * (
        context.config.pick.noise == "auto" and (falls_back or decision.rule != arm.rule)
    )
    if _is_unknown(evidence, choice):
        notes.append("whether its noise is correlated between pixels is unknown: it has too few pixels to tell")
    if not all(fit.record.blind for fit in cohort):
        notes.append(NOT_BLIND)
        row = replace(row, blind=False)
    if evidence.image.mask is not None and evidence.observation.known is not None and evidence.observation.known.all():
        notes.append("its mask says that every pixel is known, so there was nothing to paint in")
    if evidence.picture.note is not None:
        notes.append(evidence.picture.note)
    row = replace(row, note="; ".join(notes) or None)
    best = done[: arm.full_fits]
    members = _to_stack(choice, evidence, best, cohort)
    return restore(evidence, row, fits, best, members, correlated=decision.correlated, previews=previews)


def _to_stack(choice: Chosen, evidence: Evidence, best: Sequence[Fitted], cohort: Sequence[Fitted]) -> list[Fitted]:
    """The fits to stack, the best first: all that were fitted at full size, but of a lottery only the best few.

    There are none where the rule or the task says that held-out pixels do not speak for the whole image, or a user's
    mask has holes, whose inside they do not see. Where only the fits say so, the classical filters may know better.
    """
    context, image = evidence.context, evidence.image
    tells = (
        choice.decision.correlated and context.config.pick.noise == "auto" and context.config.task.kind.residual_tells
    )
    trusted = (choice.decision.rule == "held-out" or tells) and context.config.task.kind.stacks and image.mask is None
    if not trusted or not image.is_stacked:
        return []
    if choice.arm.view != "full" or choice.arm.is_lottery:
        return list(best)
    taken = {fit.record.candidate for fit in best}
    return [*best, *(fit for fit in cohort if fit.record.state == "done" and fit.record.candidate not in taken)]


def round_rows(choice: Chosen, picked: Row, fits: Fits, evidence: Evidence, *, previews: bool) -> list[Row]:
    """Return a row for every round of a lottery but the picked one, and write small pictures of its first chains'
    rounds."""
    context, image = evidence.context, evidence.image
    arm = choice.arm.name
    correlated = choice.decision.correlated
    nothing = Row(image.name, arm, RowState.FAILED, picked=False)
    common = replace(nothing, rule=picked.rule, stopping=picked.stopping, note=picked.note, blind=picked.blind)
    rows = []
    for scored in choice.cohort:
        assert isinstance(scored.name, Round)  # noqa: S101 - a lottery's cohort are rounds
        name, chain, number = scored.name, scored.name.chain, scored.name.number
        row = replace(
            common, candidate=str(name), source=chain.source, initialisation=chain.initialisation, round=number
        )
        fit = next(iter(fits.get("full", [name])), None)
        if fit is None or fit.record.state != "done":
            reason = choice.decision.failed.get(name) if fit is None else fit.record.reason
            rows.append(replace(row, reason=reason))
            continue
        judged = fits.output(fit, steady=correlated)
        pixels = evidence.with_known(fits.delivered(fit, steady=correlated))
        if previews and chain.initialisation == 0:
            context.store.put(context.layout.round_preview(image.id, arm, number), preview(evidence.shown(pixels)))
        if str(name) != picked.candidate:
            of_fit = fit.record
            iterations = (of_fit.iterations or 0) + (of_fit.revealed or 0)
            row = replace(row, iterations=iterations, seconds=of_fit.seconds, multiply_adds=of_fit.multiply_adds)
            rows.append(evidence.figures(row, of_fit, judged, pixels, correlated=correlated))
    return rows


def _is_unknown(evidence: Evidence, choice: Chosen) -> bool:
    """Whether the noise was to be examined, and there were too few pixels for it."""
    config, arm, decision = evidence.context.config, choice.arm, choice.decision
    examined = config.pick.noise == "auto" and config.task.kind.residual_tells
    by_itself = arm.view == "downscale" or arm.rule == "weighted-mean" or decision.correlated
    return examined and not by_itself and decision.residual_correlation is None


def _why_not_held_out(decision: Decision) -> str:
    seen = "" if decision.residual_correlation is None else f" ({decision.residual_correlation:.2f})"
    return (
        f"what the fits leave over is correlated between neighbouring pixels{seen}, so held-out pixels mislead:"
        " stopped where the outputs varied least and chosen by consensus"
    )


def _why_nothing(decision: Decision, final: Sequence[Fitted]) -> str:
    reasons = [fit.record.reason for fit in final if fit.record.reason] or list(decision.failed.values())
    return f"no fit came to an end; the last reason: {reasons[-1] if reasons else 'unknown'}"
