"""Check the tickets of another run before a run moves them to its own images."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.arms.chains import weights_seed
from orchestrator.arms.lottery import chains_of, rounds_of
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import DamagedError, NotFoundError, UserMistakeError
from orchestrator.prune.tickets import newer_ticket
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout
from orchestrator.settings import Config
from orchestrator.store import Store
from orchestrator.text import counted
from workers.lottery.headers import NewerTicketError, header


def check_tickets(config: Config, store: Store, images: Sequence[InputImage]) -> None:
    """Check that the tickets to be moved exist and belong to the networks of the images.

    Raises:
        UserMistakeError: a ticket is missing, damaged or of another network, or no image can be fitted with it.
        NewerFormatError: a newer version has written a ticket.
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
                    ticket = header(store.get(key))
                    channels.add(int(ticket["out_channels"]))
                except NewerTicketError as error:
                    raise newer_ticket(store, key, error) from None
                except (NotFoundError, DamagedError, ValueError, KeyError, TypeError):
                    raise UserMistakeError(
                        f"arm {arm.name}: the run {lottery.tickets} has no ticket {found} of {arm.source},"
                        " or a damaged one"
                    ) from None
                if (ticket.get("width"), ticket.get("seed")) != (config.network.width, weights_seed(config, chain)):
                    raise UserMistakeError(
                        f"arm {arm.name}: its tickets are of a network of width {ticket.get('width')} with other"
                        " initial weights; network.width and lottery.seed must be those of the run that found them"
                    )
        if images and not channels & {image.channels for image in images}:
            raise UserMistakeError(
                f"arm {arm.name}: its tickets are of images with {counted(min(channels), 'channel')},"
                " and none of the images has as many"
            )
