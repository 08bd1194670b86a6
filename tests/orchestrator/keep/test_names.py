import subprocess
import sys

from orchestrator.keep.names import bank_roots, input_keys, known_runs, tickets_of
from orchestrator.run.inputs import InputImage, Inputs, read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.store import Store
from tests.orchestrator.keep.conftest import LARGE, SMALL, LeaveRun


def test_a_run_names_its_images_references_and_masks() -> None:
    image = InputImage("a.png", "a-1", "aa1.png", "bb2.png", "a.png", 3, 4, 1, "cc3-white.png")
    keys = ["images/aa/aa1.png", "images/bb/bb2.png", "images/cc/cc3-white.png"]
    assert list(input_keys(Inputs([image], []))) == keys


def test_a_run_names_the_banks_of_its_images(store: Store, leave: LeaveRun) -> None:
    record = leave("r1", [SMALL, LARGE], tickets="r0")
    inputs = read_inputs(store, RunLayout("r1"))
    assert inputs is not None
    assert {f"{root}/key.json" for root in bank_roots(record, inputs)} < set(store.keys("fingerprints"))
    assert len(bank_roots(record, inputs)) == 2
    assert tickets_of(record) == "r0"
    (known,) = known_runs(store)
    assert (known.inputs, known.tickets, known.why) == (frozenset({SMALL.key, LARGE.key}), "r0", "")
    assert known.banks == bank_roots(record, inputs)
    assert known_runs(store, banks=False)[0].banks is None


def test_looking_after_a_store_imports_torch_only_for_banks() -> None:
    code = (
        "import sys\n"
        "from orchestrator.keep import bring_in, delete, export, prune, sizes\n"
        "assert not {'torch', 'ray', 'pyarrow', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
