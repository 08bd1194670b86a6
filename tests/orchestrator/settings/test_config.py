import pytest
from pydantic import ValidationError

from orchestrator.settings import Config, described_settings, resolve
from orchestrator.settings.section import section_of
from tests.orchestrator.settings.given import NAMES


def test_settings_cannot_be_changed_afterwards() -> None:
    config = resolve()
    with pytest.raises(ValidationError):
        config.seed = 3


def test_a_fit_at_full_size_is_not_cut_short_for_the_cohort() -> None:
    config = resolve("quickstart", ["fit.iterations=60", "cohort.iterations=20"])
    assert (config.iterations("crop"), config.iterations("full")) == (20, 60)
    alike = resolve("quickstart", ["fit.iterations=60", "cohort.iterations=null"])
    assert (alike.iterations("crop"), alike.iterations("full")) == (60, 60)


def test_every_setting_is_described_and_can_be_set_by_its_name() -> None:
    for name, default, description in described_settings():
        assert description, name
        place: object = Config
        for part in name.split("."):
            model = place if isinstance(place, type) else None
            field = model.model_fields[part.removesuffix("[]")]
            place = section_of(field.annotation) if part.endswith("[]") else field.annotation
        assert default == str(None if field.is_required() else field.default)
    assert len(NAMES) == len(set(NAMES)) > 50
    assert {"arms", "arms[].name", "arms[].networks", "arms[].portfolio[].noise"} <= set(NAMES)
