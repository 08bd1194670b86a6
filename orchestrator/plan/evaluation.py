"""The settings of an evaluation, which trains lottery tickets of an earlier run on other images or for another task."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UserMistakeError
from orchestrator.run.layout import RunLayout, word_of
from orchestrator.store import Store
from workers.lottery.methods import METHODS, TRAITS
from workers.names import Round, parse_name

_SUFFIX = ".ticket"
_LONGEST_NAME = 40
_BESIDE = ("lottery-dense", "lottery-random", "lottery-snip", "lottery-decoder")
_AS_THERE = ("initialisations", "rounds", "rate", "exempt", "rewind")


@dataclass(frozen=True)
class TicketChoice:
    """The user's choice of tickets to train.

    Attributes:
        run: the run, in the same store, that found the tickets.
        rounds: the rounds whose tickets are trained: comma-separated numbers or ``all``; None takes the last round.
        methods: comma-separated methods out of imp, snip and oes; None takes all of these that the run has.
        sources: comma-separated image ids or beginnings of ids; None takes the tickets of all images.
    """

    run: str
    rounds: str | None = None
    methods: str | None = None
    sources: str | None = None


def evaluation_settings(choice: TicketChoice, store: Store, found: dict[str, Any]) -> list[str]:
    """Return the assignments that make a run an evaluation: the tickets' network, and an arm for every source and
    method.

    ``found`` are the settings of the run that found the tickets.

    Raises:
        UserMistakeError: there are no such tickets.
    """
    tickets = _of_sources(choice, _tickets(store, choice.run))
    methods = _methods(choice, {str(chain.method) for chain, _, _ in tickets})
    tickets = [each for each in tickets if each[0].method in methods]
    networks = sorted({chain.network for chain, _, _ in tickets})
    if len(networks) > 1:
        raise UserMistakeError(
            f"--tickets {choice.run}: its tickets are of several networks ({', '.join(networks)}); those of one can be"
            " moved at a time: choose by --sources"
        )
    chains: dict[tuple[str, str, int], set[int]] = {}
    for chain, number, source in tickets:
        chains.setdefault((str(chain.method), source, chain.initialisation), set()).add(number)
    rounds = _rounds(choice, set.intersection(*chains.values()))
    pairs = dict.fromkeys((method, source) for method, source, _ in chains)
    arms: list[dict[str, Any]] = [{"name": name, "like": name} for name in _BESIDE]
    arms += [
        {"name": _arm_name(method, source), "like": f"lottery-{method}", "source": source} for method, source in pairs
    ]
    lottery = found["lottery"]
    seed = found["seed"] if lottery["seed"] is None else lottery["seed"]
    settings = {
        "network.width": found["network"]["width"],
        "network.input_channels": found["network"]["input_channels"],
        "lottery.network": networks[0],
        **{f"lottery.{name}": lottery[name] for name in _AS_THERE},
        # Tickets that this run finds for comparison are found blind. Each given ticket records what it was found on.
        "lottery.target": "observed",
        "lottery.seed": seed,
        "lottery.together": False,
        "lottery.tickets": choice.run,
        "lottery.fit_rounds": rounds,
        "arms": arms,
    }
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def _tickets(store: Store, run: str) -> "list[tuple[Any, int, str]]":
    """List all tickets of a run: chain, round and source.

    Raises:
        UserMistakeError: the run has none.
    """
    root = RunLayout(run).all_tickets
    found = []
    for key in store.keys(root):
        source, _, file = key.removeprefix(f"{root}/").partition("/")
        name = parse_name(file.removesuffix(_SUFFIX)) if file.endswith(_SUFFIX) else None
        if isinstance(name, Round):
            found.append((name.chain, name.number, source))
    if not found:
        raise UserMistakeError(f"--tickets {run}: this run has found no lottery tickets")
    return sorted(found, key=lambda each: (each[2], str(each[0]), each[1]))


def _methods(choice: TicketChoice, present: set[str]) -> list[str]:
    """Return the methods whose tickets are moved. Random masks are left out: they are equally random for any image."""
    known = [str(method) for method in METHODS if method in present and TRAITS[method].sees_images]
    names = known if choice.methods is None else [name.strip() for name in choice.methods.split(",")]
    chosen = list(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise UserMistakeError(
            f"--methods: the run {choice.run} has no tickets of"
            f" {', '.join(unknown) or 'any method that looks at images'};"
            f" it has: {', '.join(known) or 'none'}"
        )
    return chosen


def _of_sources(choice: TicketChoice, tickets: "list[tuple[Any, int, str]]") -> "list[tuple[Any, int, str]]":
    """Keep the tickets that were found on the images that the user names."""
    if choice.sources is None:
        return tickets
    chosen = [word_of(name) for name in choice.sources.split(",")]
    for name in chosen:
        if not any(source.startswith(name) for _, _, source in tickets):
            known = ", ".join(dict.fromkeys(source for _, _, source in tickets))
            raise UserMistakeError(f"--sources: no tickets were found on {name!r}; there are some of: {known}")
    return [each for each in tickets if each[2].startswith(tuple(chosen))]


def _rounds(choice: TicketChoice, present: set[int]) -> list[int]:
    """Return the rounds to train. ``present`` are the rounds of which all chains have tickets."""
    if not present:
        raise UserMistakeError(f"--tickets {choice.run}: no round has tickets of all chains; has the run ended?")
    if choice.rounds is None:
        return [max(present)]
    if choice.rounds == "all":
        return sorted(present)
    try:
        chosen = sorted({int(word) for word in choice.rounds.split(",")})
    except ValueError:
        raise UserMistakeError(f"--rounds {choice.rounds}: write numbers with commas between them, or all") from None
    if not set(chosen) <= present:
        raise UserMistakeError(
            f"--rounds {choice.rounds}: all chains have tickets of the rounds {_listed(sorted(present))}"
        )
    return chosen


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _arm_name(method: str, source: str) -> str:
    """Name an arm after its method and source; a long source keeps its end, which distinguishes it from others."""
    name = f"{method}-from-{source}"
    return name if len(name) <= _LONGEST_NAME else f"{method}-from-{source[len(name) - _LONGEST_NAME :].lstrip('-')}"
