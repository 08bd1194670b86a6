"""Lottery tickets in the store, and the weights that rounds with rewinding begin from."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.arms.chains import weights_seed
from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError, TicketError
from orchestrator.fit.checkpoint import load_weights
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout, start_key
from orchestrator.store import Store
from orchestrator.version import __version__
from workers.lottery.headers import NewerTicketError
from workers.lottery.masks import Masks
from workers.lottery.tickets import Ticket
from workers.names import Chain, Round
from workers.networks import Network


def ticket_key(context: RunContext, image: InputImage, chain: Chain, number: int) -> str:
    """Return the key of a round's ticket, which was found on this image unless the chain has a source."""
    if chain.source is None:
        return context.layout.ticket(image.id, chain.round(number))
    layout = RunLayout(context.config.lottery.tickets or context.run)
    return layout.ticket(chain.source, replace(chain, source=None).round(number))


def read_ticket(context: RunContext, key: str) -> Ticket:
    """Read a ticket.

    Raises:
        TicketError: the ticket is missing or damaged.
        NewerFormatError: a newer version has written it.
    """
    try:
        return Ticket.from_bytes(context.store.get(key))
    except NotFoundError:
        raise TicketError(f"there is no ticket {context.store.show(key)}") from None
    except NewerTicketError as error:
        raise newer_ticket(context.store, key, error) from None
    except (DamagedError, ValueError) as error:
        raise TicketError(f"the ticket {context.store.show(key)} cannot be used: {error}") from None


def newer_ticket(store: Store, key: str, error: NewerTicketError) -> NewerFormatError:
    """Make the error that refuses the ticket of a newer version."""
    return NewerFormatError(f"the ticket {store.show(key)} cannot be read by dip-orchestrator {__version__}: {error}")


def leave_ticket(context: RunContext, key: str, name: Round, images: Sequence[InputImage], masks: Masks) -> None:
    """Write the masks of a round, found on these images, to the store. The first writer's count; all find the same."""
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


def load_start(context: RunContext, ticket: str, network: Network) -> None:
    """Load the weights into a network that a chain's rounds begin from; ``ticket`` is the key of one of its tickets.

    Raises:
        TicketError: the weights are missing or damaged.
        NewerFormatError: a newer version has written them.
    """
    key = start_key(ticket)
    try:
        data = context.store.get(key)
    except (NotFoundError, DamagedError) as error:
        # Any other error of the store may pass and is no fault of the ticket.
        raise TicketError(f"the weights {context.store.show(key)} cannot be used: {error}") from None
    try:
        load_weights(network, data, context.store.show(key))
    except ValueError as error:
        raise TicketError(f"the weights {context.store.show(key)} cannot be used: {error}") from None
