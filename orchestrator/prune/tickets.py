"""Lottery tickets in the store: the network of a chain's round, and what a round leaves for the next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator import __version__
from orchestrator.arms.chains import decoder_name, fit_seed, initial_network, kept, weights_seed
from orchestrator.arms.lottery import chains_of, finds_apart, rounds_of
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError, TicketError, UserMistakeError
from orchestrator.fit.checkpoint import load_weights
from orchestrator.fit.job import FitJob
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout, start_key
from orchestrator.settings import Config
from orchestrator.store import Store
from workers.fitting import Fit, FitDivergedError
from workers.lottery.masks import Masks, applied, apply, convolution_weights
from workers.lottery.pruning import by_magnitude
from workers.lottery.tickets import NewerTicketError, Ticket, header
from workers.names import Chain, Round
from workers.networks import Network, parameter_count, prior_of
from workers.seeds import generator_of


@dataclass(frozen=True)
class RoundNetwork:
    """The network of a round, ready to be fitted, with the seed of that; for the rest see `orchestrator.fit.record.FitRecord`."""

    network: Network
    seed: int
    sparsity: float
    parameters: int
    blind: bool = True


def check_tickets(config: Config, store: Store, images: Sequence[InputImage]) -> None:
    """See whether the tickets that are to be moved are there, and fit the networks of the images.

    Raises:
        UserMistakeError: one is not, or none of the images can be fitted with it.
        NewerFormatError: a newer version has written one.
    """
    lottery = config.lottery
    for arm in arms_of(config):
        if arm.source is None or lottery.tickets is None:
            continue
        channels: set[int] = set()
        for chain in chains_of(config, arm, (arm.networks or ("picked",))[0]):
            for number in rounds_of(config, chain):
                found = replace(chain, source=None).round(number)
                key = RunLayout(lottery.tickets).ticket(arm.source, found)
                try:
                    said = header(store.get(key))
                    channels.add(int(said["out_channels"]))
                except NewerTicketError as error:
                    raise _newer(store, key, error) from None
                except (NotFoundError, DamagedError, ValueError, KeyError, TypeError):
                    raise UserMistakeError(
                        f"arm {arm.name}: the run {lottery.tickets} has no ticket {found} of {arm.source}, or a damaged one"
                    ) from None
                if (said.get("width"), said.get("seed")) != (config.network.width, weights_seed(config, chain)):
                    raise UserMistakeError(
                        f"arm {arm.name}: its tickets are of a network of width {said.get('width')} with other initial weights;"
                        " network.width and lottery.seed must be those of the run that found them"
                    )
        if images and not channels & {image.channels for image in images}:
            raise UserMistakeError(
                f"arm {arm.name}: its tickets are of images with {min(channels)} channel(s), and none of the images has as many"
            )


def ticket_key(context: RunContext, image: InputImage, chain: Chain, number: int) -> str:
    """Where the ticket of a round is: found on this image if the chain has no source."""
    if chain.source is None:
        return context.layout.ticket(image.id, chain.round(number))
    layout = RunLayout(context.config.lottery.tickets or context.run)
    return layout.ticket(chain.source, replace(chain, source=None).round(number))


def read_ticket(context: RunContext, key: str) -> Ticket:
    """A ticket.

    Raises:
        TicketError: it is not there, or damaged.
        NewerFormatError: a newer version has written it.
    """
    try:
        return Ticket.from_bytes(context.store.get(key))
    except NotFoundError:
        raise TicketError(f"there is no ticket {context.store.show(key)}") from None
    except NewerTicketError as error:
        raise _newer(context.store, key, error) from None
    except (DamagedError, ValueError) as error:
        raise TicketError(f"the ticket {context.store.show(key)} cannot be used: {error}") from None


def _newer(store: Store, key: str, error: NewerTicketError) -> NewerFormatError:
    return NewerFormatError(f"the ticket {store.show(key)} cannot be read by dip-orchestrator {__version__}: {error}")


def leave_ticket(context: RunContext, key: str, name: Round, images: Sequence[InputImage], masks: Masks) -> None:
    """Put the masks of a round, found on these images, into the store: once, being the same whoever finds them."""
    config, channels = context.config, images[0].channels
    chain = name.chain
    ticket = Ticket(
        network=chain.network,
        out_channels=channels,
        width=config.network.width,
        input_channels=config.network.input_depth(channels),
        seed=weights_seed(config, chain),
        method=chain.method,
        initialisation=chain.initialisation,
        round=name.number,
        source=() if not chain.traits.sees_images else tuple(image.id for image in images),
        task=config.task.name,
        target=config.lottery.target,
        rewind=config.lottery.rewind if chain.traits.round_by_round else 0,
        masks=masks,
    )
    context.store.create(key, ticket.to_bytes())


def round_network(context: RunContext, image: InputImage, chain: Chain, number: int) -> RoundNetwork:
    """The network of a round, with its masks applied.

    Raises:
        TicketError: its ticket cannot be used for this image.
    """
    config = context.config
    seed = fit_seed(config, image, chain, number)
    initial = initial_network(config, chain, image.channels)
    if chain.traits.decoder:
        decoder = prior_of(decoder_name(config, chain.network, number, image.channels)).build(
            image.channels,
            config.network.width,
            input_channels=1,
            generator=generator_of("fit weights", weights_seed(config, chain)),
        )
        lacking = 1 - convolution_weights(decoder) / convolution_weights(initial)
        return RoundNetwork(decoder, seed, lacking, parameter_count(decoder))
    if number == 0:
        return RoundNetwork(initial, seed, 0.0, parameter_count(initial))
    key = ticket_key(context, image, chain, number)
    ticket = read_ticket(context, key)
    depth = config.network.input_depth(image.channels)
    has = (ticket.out_channels, ticket.width, ticket.input_channels, ticket.seed)
    here = (image.channels, config.network.width, depth, weights_seed(config, chain))
    if has != here:
        raise TicketError(
            f"the ticket {context.store.show(key)} is of a network with {ticket.out_channels} channels, width {ticket.width},"
            f" input depth {ticket.input_channels}, weights of seed {ticket.seed}: here there are"
            f" {', '.join(map(str, here))}"
        )
    if ticket.rewind:
        load_start(context, key, initial)
    apply(initial, ticket.masks)
    gone = sum(int((~mask).sum()) for mask in ticket.masks.values())
    # What was found on no image has seen no clean one.
    blind = ticket.target == "observed" or not ticket.source
    return RoundNetwork(initial, seed, ticket.sparsity, parameter_count(initial) - gone, blind)


def load_start(context: RunContext, ticket: str, network: Network) -> None:
    """Give a network the weights that a chain's rounds begin from, by the key of one of its tickets.

    Raises:
        TicketError: they are not there, or damaged.
        NewerFormatError: a newer version has written them.
    """
    key = start_key(ticket)
    try:
        data = context.store.get(key)
    except (NotFoundError, DamagedError) as error:
        # Any other trouble of the store may pass, and is none of the ticket's.
        raise TicketError(f"the weights {context.store.show(key)} cannot be used: {error}") from None
    try:
        load_weights(network, data, context.store.show(key))
    except ValueError as error:
        raise TicketError(f"the weights {context.store.show(key)} cannot be used: {error}") from None


def leave_next(context: RunContext, job: FitJob, chain: Chain, number: int, fit: Fit) -> None:
    """Where the masks of a round come out of the fit of the round before: put them into the store."""
    config = context.config
    successor = Chain(chain.network, "imp", chain.initialisation)
    wanted = any(arm.is_lottery and arm.traits.round_by_round and arm.source is None for arm in arms_of(config))
    own = chain.source is None and (chain.traits.round_by_round or not chain.traits.many_rounds)
    if not own or not wanted or finds_apart(config, successor) or number >= config.lottery.rounds:
        return
    try:
        keep = kept(config, fit.network, number + 1)
        masks = by_magnitude(fit.network, applied(fit.network) or None, keep, config.lottery.exempt)
    except ValueError as error:
        # A weight left the numbers in the last step, or the settings exempt what this network has not.
        raise FitDivergedError(f"its weights cannot be pruned: {error}") from None
    key = context.layout.ticket(job.image.id, successor.round(number + 1))
    leave_ticket(context, key, successor.round(number + 1), [job.image], masks)
