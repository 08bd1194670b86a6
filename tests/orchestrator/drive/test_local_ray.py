import itertools
from collections.abc import Callable

import pytest
import ray

from orchestrator.drive import local_ray


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets after how many questions Ray's node is there."""

    def there_after(questions: int) -> None:
        asked = itertools.count(1)

        def get_node(address: str, node: str) -> str:
            if next(asked) <= questions:
                raise RuntimeError(f"no node {node}")
            return f"{node} at {address}"

        monkeypatch.setattr(ray._private.services, "get_node", get_node)

    monkeypatch.setattr(local_ray, "_LOOK_AGAIN_S", 0.001)
    return there_after


def test_a_ray_that_starts_slowly_is_waited_for(node: Callable[[int], None]) -> None:
    node(40)
    before = ray._private.services.get_node
    with local_ray.patient_start():
        assert ray._private.services.get_node("here", node="n1") == "n1 at here"
    assert ray._private.services.get_node is before


def test_a_ray_that_does_not_start_is_given_up(node: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ray, "_START_S", 0.01)
    node(10**9)
    with local_ray.patient_start(), pytest.raises(RuntimeError, match="no node n1"):
        ray._private.services.get_node("here", "n1")
