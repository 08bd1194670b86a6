"""What an iteration of a fit costs in multiply-adds, at the size of its view."""

from orchestrator.run.inputs import InputImage
from orchestrator.settings import Config, ViewName
from workers.names import PriorName
from workers.networks.cost import prior_multiply_adds
from workers.networks.search import SMALLEST_SIDE
from workers.views import padded_side, view_size


def fitted_sides(config: Config, image: InputImage, view: ViewName) -> tuple[int, int]:
    """Height and width of what a network puts out for a view of an image, padding included."""
    scale, cohort = config.task.scale, config.cohort
    height, width = view_size(
        view, image.height, image.width, crop_px=cohort.crop_px, downscale_px=cohort.downscale_px, scale=scale
    )
    return scale * padded_side(height, scale), scale * padded_side(width, scale)


def prior_cost(config: Config, image: InputImage, view: ViewName, name: PriorName) -> int:
    """Multiply-adds of one iteration of a prior's fit.

    Raises:
        InvalidCandidateError: no prior has this name.
    """
    generator = config.generator(name.network)
    if generator is not None:
        return generator.multiply_adds
    height, width = fitted_sides(config, image, view)
    smallest = prior_multiply_adds(
        name.network, image.channels, config.network.width, config.network.input_depth(image.channels)
    )
    return smallest * height * width // SMALLEST_SIDE**2
