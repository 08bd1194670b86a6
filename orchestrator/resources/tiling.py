"""The tiles that an image is cut into where a fit of all of it does not fit into a trial's memory."""

from collections.abc import Sequence

from orchestrator.arms.resolve import arms_of
from orchestrator.resources.share import Resources, bytes_per_pixel, why_too_large
from orchestrator.run.inputs import InputImage
from orchestrator.settings import Config
from workers.tiles import Tiling, tiling_of
from workers.views import padded_side, side_within


def too_large(config: Config, images: Sequence[InputImage], resources: Resources) -> dict[str, str]:
    """The ids of the images whose full-size fits fit into no trial's memory, also not cut, each with the reason."""
    return {image: found for image, found in _cuts(config, images, resources).items() if isinstance(found, str)}


def tilings(config: Config, images: Sequence[InputImage], resources: Resources) -> dict[str, Tiling]:
    """The ids of the images that are cut, each with its tiles."""
    return {image: found for image, found in _cuts(config, images, resources).items() if isinstance(found, Tiling)}


def _cuts(config: Config, images: Sequence[InputImage], resources: Resources) -> dict[str, Tiling | str | None]:
    per_pixel = {channels: bytes_per_pixel(config, channels) for channels in {image.channels for image in images}}
    return {image.id: cut(config, image, per_pixel[image.channels], resources) for image in images}


def cut(config: Config, image: InputImage, per_pixel: float, resources: Resources) -> Tiling | str | None:
    """The tiles of an image; None if it is fitted as a whole; or the reason why it cannot be fitted here.

    Args:
        config: The settings.
        image: The image.
        per_pixel: Bytes of memory per restored pixel.
        resources: Those of a trial.
    """
    shape = (image.channels, image.height, image.width)
    for network in {name for arm in arms_of(config) for name in arm.all_networks}:
        generator = config.generator(network)
        if generator is not None and (reason := generator.why_not(shape)) is not None:
            return reason
    scale, wanted = config.task.scale, config.fit.tile
    why_not = why_too_large(image, scale, per_pixel, resources)
    # The rounds of a chain share one mask, which is found on the whole image; and no tile has measurements of its own.
    whole = config.task.kind.sees_whole or any(arm.is_lottery for arm in arms_of(config))
    is_cut = wanted != "none" and not whole
    if not is_cut or (wanted == "auto" and why_not is None):
        return why_not
    most = side_within(resources.trial_memory / per_pixel, scale) if wanted == "auto" else int(wanted) // scale
    if most == 0 or max(image.height, image.width) <= most:
        return why_not
    if wanted != "auto" and per_pixel * (scale * padded_side(most, scale)) ** 2 > resources.trial_memory:
        return (
            f"too large: not even a tile of {wanted} pixels fits into a trial's memory; set a smaller fit.tile, or auto"
        )
    reach = config.task.make().operator.reach
    overlap = min(max(config.fit.overlap // scale, 2 * reach + max(1, 8 // scale)), most // 2)
    if 2 * reach >= overlap:
        return (
            f"too large: tiles of {scale * most} pixels are too small for an operator that reaches {scale * reach}"
            " pixels far; set a lower network.width, so that larger tiles fit into a trial's memory"
        )
    return tiling_of(image.height, image.width, most, overlap, reach)
