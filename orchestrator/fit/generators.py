"""The trained generators of a run: brought to the store once, and made networks of where they are fitted."""

import hashlib

import torch

from orchestrator.errors import DamagedError, UserMistakeError
from orchestrator.run.context import RunContext
from orchestrator.run.layout import RunLayout
from orchestrator.settings import Config
from orchestrator.settings.generators import read_file
from orchestrator.store import Store
from workers.generators import load_generator
from workers.names import PriorName
from workers.names import generator_of as named_generator
from workers.networks.generator import GeneratorNetwork, Search


def put_generators(store: Store, layout: RunLayout, config: Config) -> None:
    """Bring the files of a run's generators to the store; those that are there stay.

    Raises:
        UserMistakeError: a file cannot be read, or is another than the settings say.
    """
    for generator in config.generators:
        key = layout.generator(generator.name)
        if store.exists(key):
            continue
        try:
            data = read_file(generator.file)
        except OSError as error:
            raise UserMistakeError(f"generator {generator.name}: {generator.file}: {error}") from None
        if hashlib.sha256(data).hexdigest() != generator.sha256:
            raise UserMistakeError(
                f"generator {generator.name}: {generator.file} has another content than the settings say (sha256);"
                " leave sha256 out, and it is looked at anew"
            )
        store.put(key, data)


def generator_network(context: RunContext, name: PriorName, random: torch.Generator) -> GeneratorNetwork:
    """The network of a generator, with fresh latents.

    Raises:
        DamagedError: the store's file is not the one that the run was begun with.
    """
    config = context.config
    generator, named = config.generator(name.network), named_generator(name.network)
    assert generator is not None  # noqa: S101 - the caller knows that it is one
    assert named is not None  # noqa: S101 - likewise
    data = context.store.get(context.layout.generator(generator.name))
    if hashlib.sha256(data).hexdigest() != generator.sha256:
        raise DamagedError(f"the generator {generator.name} in the store is not the one that the run was begun with")
    module = load_generator(data, generator.factory)
    first = max(1, round(generator.latent_share * config.fit.iterations)) if named[1] else None
    search = Search(generator.restarts, first, generator.rate, generator.weights_rate)
    return GeneratorNetwork(module, generator.facts, search, random)
