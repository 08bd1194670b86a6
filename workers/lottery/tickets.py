"""Tickets: masks as small artefacts, with everything needed to train the weights that they leave.

A ticket has the masks and the seed of the initial weights, not the weights. Three lines fit one to an image::

    ticket = Ticket.from_bytes(Path("x.ticket").read_bytes())
    network = ticket.build()
    fit = Fit(network, measurement, operator, settings, seed=0)

The file has three parts. The first line is ``dip-ticket 1``. The second is one JSON object: the fields of `Ticket`,
with masks as ``layers`` (name, shape and number of kept weights), the true ``sparsity``, and ``sha256``, the digest of
this line without it and of the third part. The rest are the masks' bits, layer after layer in C order, eight to a byte,
the first in the highest bit; zeros fill the last byte.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from workers.lottery.headers import MAGIC, digest, header, header_line
from workers.lottery.masks import Masks, apply, layer_counts, prunable, sparsity, unflatten
from workers.lottery.methods import METHODS, Method
from workers.networks import Network, prior_of
from workers.seeds import generator_of

Target = Literal["observed", "clean"]
"""The image that the masks were fitted to: as it was measured, or the clean one, which only an experiment has."""

_TYPES: dict[str, type] = {
    "network": str,
    "out_channels": int,
    "width": int,
    "input_channels": int,
    "seed": int,
    "method": str,
    "initialisation": int,
    "round": int,
    "source": list,
    "task": str,
    "target": str,
    "rewind": int,
    "sparsity": float,
    "layers": list,
    "sha256": str,
}
_LAYER_TYPES: dict[str, type] = {"name": str, "shape": list, "kept": int}
_MOST_CHANNELS = 2**16


@dataclass(frozen=True, eq=False)
class Ticket:
    """Masks of a network, and how they were found.

    Attributes:
        network: the name of the prior, see `workers.networks.priors.prior_of`.
        out_channels: channels of the image.
        width: channels of every scale.
        input_channels: the depth of the noise input that was asked for.
        seed: of the initial weights, which are ``generator_of("fit weights", seed)``'s.
        method: how the masks were found.
        initialisation: the number of the chain's initialisation, from 0.
        round: the pruning round.
        source: the ids of the images that they were found on; empty where none were used.
        task: the task that degraded these images.
        target: the image that the masks were fitted to, see `Target`.
        rewind: the iteration whose weights a round began with; 0 are the initial ones, which alone a ticket can
            rebuild.
        masks: the weights that are left of the convolutions; on the CPU.

    Raises:
        ValueError: a field is out of range, or the masks do not fit the network.
    """

    network: str
    out_channels: int
    width: int
    input_channels: int
    seed: int
    method: Method
    initialisation: int
    round: int
    source: tuple[str, ...]
    task: str
    target: Target
    rewind: int
    masks: Masks

    def __post_init__(self) -> None:
        for name in ("out_channels", "width", "input_channels"):
            if not 1 <= getattr(self, name) <= _MOST_CHANNELS:
                raise ValueError(f"{name} is not from 1 to {_MOST_CHANNELS}")
        for name in ("seed", "initialisation", "round", "rewind"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is below 0")
        if self.method not in METHODS or self.target not in get_args(Target):
            raise ValueError(f"no mask is found by {self.method!r} on {self.target!r}")
        layers = self._layers()
        for name, mask in self.masks.items():
            if name not in layers or mask.shape != layers[name].weight.shape or mask.dtype != torch.bool:
                raise ValueError(f"the mask of {name!r} does not fit the network {self.network}")

    def _declared(self) -> Network:
        return prior_of(self.network).declare(self.out_channels, self.width, input_channels=self.input_channels)

    def _layers(self) -> dict[str, nn.Conv2d]:
        return prunable(self._declared())

    @property
    def sparsity(self) -> float:
        """The share of all the network's convolution weights, exempt ones too, that the masks take away."""
        return sparsity(self._declared(), self.masks)

    def dense(self) -> Network:
        """The network with its initial weights and without the masks, on the CPU."""
        return prior_of(self.network).build(
            self.out_channels,
            self.width,
            input_channels=self.input_channels,
            generator=generator_of("fit weights", self.seed),
        )

    def build(self, start: Mapping[str, Tensor] | None = None) -> Network:
        """The network with the masks applied, on the CPU, and with its initial weights, or
        those of the state ``start``.

        Raises:
            ValueError: the ticket's rounds begin from later weights, which it does not hold, and they are not given.
        """
        if self.rewind and start is None:
            raise ValueError(
                f"the ticket's rounds begin from the weights after {self.rewind} iterations; they must be given"
            )
        network = self.dense()
        if start is not None:
            network.load_state_dict(start)
        apply(network, self.masks)
        return network

    def to_bytes(self) -> bytes:
        """The file; equal tickets have equal bytes."""
        masks = {name: self.masks[name] for name in self._layers() if name in self.masks}
        fields: dict[str, Any] = {name: getattr(self, name) for name in _TYPES if name not in ("layers", "sha256")}
        fields["layers"] = [
            {"name": name, "shape": list(masks[name].shape), "kept": kept}
            for name, (kept, _) in layer_counts(masks).items()
        ]
        flat = [mask.numpy().ravel() for mask in masks.values()]
        bits = np.packbits(np.concatenate([np.zeros(0, dtype=np.bool_), *flat])).tobytes()
        fields["sha256"] = digest(fields, bits)
        return MAGIC + b"\n" + header_line(fields) + bits

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a file. It is accepted only if `to_bytes` would write exactly these bytes.

        Raises:
            NewerTicketError: a newer version has written it.
            ValueError: the file is something else, or damaged.
        """
        fields = header(data)
        _check("the header", fields, _TYPES)
        layers = fields.pop("layers")
        for layer in layers:
            _check("a layer", layer, _LAYER_TYPES)
            if len(layer["shape"]) != 4 or not all(type(side) is int and side > 0 for side in layer["shape"]):
                raise ValueError(f"the shape of {layer['name']!r} is not four numbers above 0")
        if not all(type(image) is str for image in fields["source"]):
            raise ValueError("the source is not a list of names")
        shapes = {layer["name"]: layer["shape"] for layer in layers}
        if len(shapes) != len(layers):
            raise ValueError("two layers have the same name")
        # Compare sizes before anything of such a size is made.
        weights = sum(math.prod(shape) for shape in shapes.values())
        bits = data.split(b"\n", 2)[2]
        if len(bits) != (weights + 7) // 8:
            raise ValueError(f"the ticket has {len(bits)} bytes of masks, which {weights} weights do not fill")
        flat = torch.from_numpy(np.unpackbits(np.frombuffer(bits, dtype=np.uint8)).astype(np.bool_))
        if flat[weights:].any():
            raise ValueError("the last byte is not filled up with zeros")
        masks = unflatten(flat[:weights], shapes)
        for layer, (kept, _) in zip(layers, layer_counts(masks).values(), strict=True):
            if kept != layer["kept"]:
                raise ValueError(f"the mask of {layer['name']!r} keeps {kept} weights, not {layer['kept']}")
        del fields["sparsity"], fields["sha256"]
        ticket = cls(**fields | {"source": tuple(fields["source"]), "masks": masks})
        # Checks sparsity, digest, and that nothing is written twice or in another form.
        if ticket.to_bytes() != data:
            raise ValueError("the ticket is damaged: its parts do not agree with each other")
        return ticket


def _check(what: str, fields: Any, types: dict[str, type]) -> None:
    if not isinstance(fields, dict) or fields.keys() != types.keys():
        raise ValueError(f"{what} does not have exactly the fields {', '.join(types)}")
    for name, kind in types.items():
        # Not isinstance: true and false are no numbers here.
        if type(fields[name]) is not kind:
            raise ValueError(f"{name} in {what} is not {kind.__name__}")
