from typing import get_args

from orchestrator.settings import resolve
from orchestrator.settings.fit import Fit
from workers.stopping import RULES


def test_the_noise_input_is_as_deep_as_the_image_unless_a_depth_is_set() -> None:
    assert resolve().network.input_depth(3) == 3
    assert resolve("quickstart", ["network.input_channels=32"]).network.input_depth(3) == 32


def test_every_stopping_rule_has_its_name_in_the_settings() -> None:
    assert set(get_args(Fit.model_fields["stopping"].annotation)) == {"auto", *RULES}
