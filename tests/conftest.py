from pathlib import Path

import pytest

import orchestrator.local_ray  # noqa: F401 - before anything imports Ray, which reads its environment once

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (``-n 2 --dist loadgroup``): files stay together, as does what needs the calm run; longest first."""
    system = str(Path(__file__).parent / "system")
    for item in items:
        calm = "calm" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("calm" if calm else str(item.path)))
    items.sort(key=lambda item: not str(item.path).startswith(system))
