"""The rounds of a chain: the subject of a round's fit, and the masks that the fit leaves for the next round.

The initial weights of a chain and the noise of its rounds are functions of the settings: see
`orchestrator.arms.chains`.
"""

from functools import partial

from orchestrator.arms.chains import decoder_name, fit_seed, initial_network, iterations_of, kept, weights_seed
from orchestrator.arms.lottery import finds_apart
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import TicketError
from orchestrator.fit.subject import Subject
from orchestrator.prune.tickets import leave_ticket, load_start, read_ticket, ticket_key
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.text import counted
from workers.fitting import Fit, FitDivergedError
from workers.lottery.masks import applied, apply, convolution_weights
from workers.lottery.pruning import by_magnitude
from workers.names import Chain, Round
from workers.networks import Network, parameter_count, prior_of
from workers.seeds import generator_of


def round_subject(context: RunContext, image: InputImage, name: Round) -> Subject:
    """Make the subject of a round: its network with its masks applied. Its finished fit writes the next round's masks.

    Raises:
        TicketError: the round's ticket cannot be used for this image.
        NewerFormatError: a newer version has written the ticket.
    """
    config, chain = context.config, name.chain

    def subject(network: Network, sparsity: float, parameters: int, *, blind: bool = True) -> Subject:
        # A round runs all its iterations, so patience must not end it earlier.
        iterations, seed = iterations_of(config), fit_seed(config, image, chain, name.number)
        leaves = partial(leave_next, context, image, name)
        return Subject(network, seed, iterations, iterations, parameters, sparsity, blind, leaves)

    initial = initial_network(config, chain, image.channels)
    if chain.traits.decoder:
        decoder = prior_of(decoder_name(config, chain.network, name.number, image.channels)).build(
            image.channels,
            config.network.width,
            input_channels=1,
            generator=generator_of("fit weights", weights_seed(config, chain)),
        )
        lacking = 1 - convolution_weights(decoder) / convolution_weights(initial)
        return subject(decoder, lacking, parameter_count(decoder))
    if name.number == 0:
        return subject(initial, 0.0, parameter_count(initial))
    key = ticket_key(context, image, chain, name.number)
    ticket = read_ticket(context, key)
    depth = config.network.input_depth(image.channels)
    has = (ticket.out_channels, ticket.width, ticket.input_channels, ticket.seed)
    here = (image.channels, config.network.width, depth, weights_seed(config, chain))
    if has != here:
        raise TicketError(
            f"the ticket {context.store.show(key)} is of a network with {counted(ticket.out_channels, 'channel')},"
            f" width {ticket.width}, input depth {ticket.input_channels}, weights of seed {ticket.seed}: here there are"
            f" {', '.join(map(str, here))}"
        )
    if ticket.rewind:
        load_start(context, key, initial)
    apply(initial, ticket.masks)
    gone = sum(int((~mask).sum()) for mask in ticket.masks.values())
    # A ticket that was found without any image is blind too.
    blind = ticket.target == "observed" or not ticket.source
    return subject(initial, ticket.sparsity, parameter_count(initial) - gone, blind=blind)


def leave_next(context: RunContext, image: InputImage, name: Round, fit: Fit) -> None:
    """Write the masks of the next round to the store if they come from the fit of this round.

    Raises:
        FitDivergedError: the fitted weights cannot be pruned.
    """
    config, chain, number = context.config, name.chain, name.number
    successor = Chain(chain.network, "imp", chain.initialisation)
    needed = any(arm.is_lottery and arm.traits.round_by_round and arm.source is None for arm in arms_of(config))
    own = chain.source is None and (chain.traits.round_by_round or not chain.traits.many_rounds)
    if not own or not needed or finds_apart(config, successor) or number >= config.lottery.rounds:
        return
    try:
        keep = kept(config, fit.network, number + 1)
        masks = by_magnitude(fit.network, applied(fit.network) or None, keep, config.lottery.exempt)
    except ValueError as error:
        # The last step made a weight infinite or NaN, or the settings exempt layers that this network lacks.
        raise FitDivergedError(f"its weights cannot be pruned: {error}") from None
    key = context.layout.ticket(image.id, successor.round(number + 1))
    leave_ticket(context, key, successor.round(number + 1), [image], masks)
