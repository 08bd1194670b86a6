from orchestrator.keep.sizes import sizes
from orchestrator.store import Store
from tests.orchestrator.keep.conftest import LARGE, SMALL, LeaveRun, contents


def test_each_run_has_the_bytes_of_its_own_objects_and_the_rest_is_shared(store: Store, leave: LeaveRun) -> None:
    assert sizes(store).runs == {}
    leave("r1", [SMALL, LARGE])
    leave("r10", [SMALL])
    measured = sizes(store)
    for run in ("r1", "r10"):
        assert measured.runs[run] == sum(map(len, contents(store, f"runs/{run}").values()))
    assert measured.shared["images"] == len(SMALL.content) + len(LARGE.content)
    assert measured.shared["fingerprints"] == sum(map(len, contents(store, "fingerprints").values()))
