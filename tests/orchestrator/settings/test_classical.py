import operator

from orchestrator.settings import resolve
from orchestrator.settings.trust import code_settings
from tests.orchestrator.settings.given import mistakes


def test_filters_are_used_unless_they_are_switched_off() -> None:
    assert resolve("quickstart", []).classical.use
    assert not resolve("quickstart", ["classical.use=false"]).classical.use


def test_a_filter_of_ones_own_is_loaded_by_its_name() -> None:
    settings = resolve("quickstart", ["classical.also=['operator:sub']"]).classical
    assert settings.denoisers() == {"operator:sub": operator.sub}


def test_a_filter_that_is_none_is_refused_with_its_place_and_the_reason() -> None:
    (line,) = mistakes("classical.also=[bm4d]")
    assert line.startswith("classical.also.0: no denoiser is called 'bm4d'")
    assert line.endswith("module:object")
    (line,) = mistakes("classical.also=['no_such_module:f']")
    assert line.startswith("classical.also.0: the denoiser 'no_such_module:f' cannot be loaded: ModuleNotFoundError: ")
    (line,) = mistakes("classical.also=['os:sep']")
    assert line == "classical.also.0: the denoiser 'os:sep' is str, which cannot be called"


def test_it_names_code_for_whoever_resumes_the_run() -> None:
    named = resolve("quickstart", ["classical.also=['operator:sub']"])
    assert code_settings(named) == ['classical.also=["operator:sub"]']


def test_no_arm_has_the_filters_name() -> None:
    (line,) = mistakes("arms=[{name: classical, networks: [dip]}]")
    assert "'classical' is the name of the filters" in line
