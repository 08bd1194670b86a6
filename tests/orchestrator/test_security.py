"""The project's promises to users who give it files: none of them is code, and none is written outside its place."""

import ast
import contextlib
import io
import os
import pickle
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.arms.candidates import candidates_of
from orchestrator.errors import ConfigError, DamagedError, StoreError
from orchestrator.figures.study import read_table
from orchestrator.fit.arrays import FitArrays, read_arrays
from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys
from orchestrator.fit.subject import prior_subject
from orchestrator.report import render
from orchestrator.run.layout import ClaimLayout, FitLayout, RunLayout
from orchestrator.run.rows import Row, RowState
from orchestrator.score.bank import bank_of, bank_parts
from orchestrator.score.score import score_image
from orchestrator.settings import resolve
from orchestrator.store import LocalStore, check_key
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from tests.orchestrator.report.examples import image, report
from workers.names import PriorName

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("orchestrator", "workers") for path in (ROOT / package).rglob("*.py"))

# The source.

UNSAFE_MODULES = {
    *("pickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "code", "pty", "telnetlib"),
    *("xml", "tarfile", "zipfile", "urllib.request", "requests"),
}
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "os.chmod", "os.umask"),
    *("ssl._create_unverified_context", "np.fromfile", "np.memmap", "torch.hub.load", "torch.jit.load"),
}
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "jinja2.Environment": ("autoescape", True),
    "Environment": ("autoescape", True),
}
YAML = {"yaml.safe_load", "yaml.safe_dump", "yaml.compose"}
"""The only functions of yaml that may be called; the last makes nodes, which stand for no objects yet."""


def dangers(source: str) -> Iterator[str]:
    """The calls in a source that could make code of data, or open a door."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [alias.name if module is None else f"{module}.{alias.name}" for alias in node.names]
            for name in names:
                parts = name.split(".")
                prefixes = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
                if prefixes & UNSAFE_MODULES or "cloudpickle" in parts:
                    yield f"imports {name}"
                if (
                    isinstance(node, ast.ImportFrom)
                    and parts[0] in ("torch", "numpy", "yaml")
                    and parts[-1] in ("load",)
                ):
                    yield f"hides {name}"
        elif isinstance(node, ast.Call):
            yield from of_call(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "0.0.0.0" in node.value:  # noqa: S104
            yield "listens to everybody"


def of_call(node: ast.Call) -> Iterator[str]:
    # A call on the result of another call has no name of its own.
    name = "" if "(" in ast.unparse(node.func) else ast.unparse(node.func)
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    constants = {key: value.value for key, value in named.items() if isinstance(value, ast.Constant)}
    if name in UNSAFE_CALLS or "pickle." in name or name.startswith(("os.exec", "os.spawn")):
        yield f"calls {name}"
    if name in NEEDED and (NEEDED[name][0], NEEDED[name][1]) not in constants.items():
        yield f"calls {name} without {NEEDED[name][0]}={NEEDED[name][1]}"
    if name.startswith("yaml.") and name not in YAML:
        yield f"calls {name}"
    if "shell" in named and constants.get("shell") is not False:
        yield f"calls {name} with a shell"
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("extract", "extractall", "unpack_archive"):
        yield "extracts an archive"
    if constants.get("verify") is False:
        yield f"calls {name} without looking at certificates"
    if name == "Markup" and not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant)):
        yield "marks up what is no constant"


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from pickle import loads", "import ray.cloudpickle as p", "from ray import cloudpickle"),
        *("import cloudpickle", "import os, shelve", "from urllib.request import urlopen", "from torch import load"),
        *("eval(x)", "exec(x)", "os.system(x)", "os.execv(a, b)", "ray.cloudpickle.loads(x)"),
        *("torch.load(x)", "torch.load(x, weights_only=False)", "torch.load(x, weights_only=safe)"),
        *(
            "np.load(x)",
            "np.load(x, allow_pickle=True)",
            "yaml.load(x)",
            "yaml.load(x, yaml.SafeLoader)",
            "yaml.dump(x)",
        ),
        *("subprocess.run(x, shell=True)", "subprocess.run(x, shell=1)", "subprocess.run(x, shell=shell)"),
        *("jinja2.Environment()", "jinja2.Environment(autoescape=False)", "Markup(text)", "Markup(f'<b>{x}</b>')"),
        *("import tarfile", "archive.extractall(x)", "tarfile.open(x).extract(y)", "shutil.unpack_archive(x)"),
        *("start(host='0.0.0.0')", "boto3.client('s3', verify=False)", "'http://0.0.0.0:1'"),
    ],
)
def test_a_danger_in_a_source_is_seen(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        *("network.eval()", "re.compile(x)", "import json", "from torch import Tensor", "yaml.safe_load(x)"),
        *("torch.load(x, weights_only=True)", "np.load(x, mmap_mode='r', allow_pickle=False)", "Markup('<b>{}</b>')"),
        *("subprocess.run([x], check=True)", "jinja2.Environment(autoescape=True)", "archive.extractfile(member)"),
    ],
)
def test_what_is_no_danger_is_let_be(source: str) -> None:
    assert list(dangers(source)) == []


def test_no_source_makes_code_of_data() -> None:
    found = {str(path.relative_to(ROOT)): list(dangers(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert len(found) > 40
    # A test class that ships: it pickles a store of its own and reads that back.
    contract = found.pop("orchestrator/store/contract.py")
    assert all("pickle" in said for said in contract)
    # An exported run as an archive: its members are read one by one, and none is extracted.
    assert found.pop("orchestrator/keep/parcel.py") == ["imports tarfile"]
    # An archive of arrays that is written, one array after the other.
    assert found.pop("orchestrator/fit/arrays.py") == ["imports zipfile"]
    # Archives of arrays: their members are compared with their checksums, and none is extracted.
    assert found.pop("orchestrator/keep/content.py") == ["imports zipfile"]
    # Weights of a generator: pickle's error is caught, archives are listed and never extracted, and a TorchScript
    # program is one of the user's own, like a factory.
    allowed = ["imports pickle", "imports zipfile", "calls torch.jit.load"]
    assert found.pop("workers/generators.py") == allowed
    assert {name: said for name, said in found.items() if said} == {}


def test_no_template_lets_anything_through_unescaped() -> None:
    templates = list((ROOT / "orchestrator").rglob("*.j2"))
    assert templates
    for path in templates:
        written = "".join(path.read_text(encoding="utf-8").split())
        assert "|safe" not in written
        assert "autoescape" not in written


# Names.

hostile = st.lists(
    st.sampled_from(
        ["..", ".", "/", "//", "\\", "\0", "~", "a", "a.png", "%2e%2e", "\u2024\u2024", "C:", "\n", "\udc80"]
    ),
    max_size=6,
).map("".join)


def keys_of(run: str, one: str, other: str) -> Iterator[Callable[[], str]]:
    layout = RunLayout(run)
    fit = FitLayout(f"{layout.fits('i')}/crop/1-0")
    yield from (lambda make=make: make(one) for make in (layout.scores,))
    yield from (
        lambda make=make: make(one) for make in (layout.fits, layout.cohort, layout.row, layout.study, fit.arrays)
    )
    yield lambda: layout.rung(one, other, 1)
    yield lambda: layout.pick(one, other)
    yield lambda: layout.preview(one, "degraded", other)
    yield lambda: layout.restored(one, "pick", other)
    for key in ("result", "checkpoint"):
        yield lambda key=key: getattr(layout.fit(one, other, PriorName(one)), key)
    yield lambda: ClaimLayout(f"{layout.claims}/{one}").holder


@settings(max_examples=300)
@given(hostile, hostile)
def test_whatever_a_name_is_its_keys_stay_below_the_run_or_are_refused(one: str, other: str) -> None:
    for make in keys_of("r1", one, other):
        with contextlib.suppress(StoreError):
            key = check_key(make())
            assert key.startswith("runs/r1/")
            assert posixpath.normpath(key) == key


@settings(max_examples=300)
@given(hostile)
def test_no_key_leads_out_of_a_folder(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    root = tmp_path_factory.getbasetemp() / "root"
    with contextlib.suppress(StoreError):
        path = Path(LocalStore(root).show(key))
        assert path.is_relative_to(root)
        assert os.path.normpath(path) == str(path)


def test_a_record_that_points_elsewhere_is_refused(bench: Bench) -> None:
    keys = fit_keys(bench.context, FitJob(bench.image, "crop", PriorName(CANDIDATES[0])))
    for arrays in ("x/../../../../../../secret", "/../x", "//", "\0"):
        with pytest.raises(StoreError, match="is no key"):
            read_arrays(bench.store, keys, FitRecord(PriorName(CANDIDATES[0]), "crop", "done", arrays=arrays))


# Objects that somebody else has put into the store.


class Evil:
    """Unpickling this leaves a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def evil(tmp_path: Path) -> Iterator[Evil]:
    """It is a danger to code that loads it as a pickle; the test checks at the end that nothing did."""
    made = Evil(tmp_path / "code has run")
    pickle.loads(pickle.dumps(made))  # noqa: S301 - our own
    assert made.trace.exists()
    made.trace.rmdir()
    yield made
    assert not made.trace.exists()


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    torch.set_num_threads(1)
    return make_bench(make_config(), encoded(noise_seed=1))


def saved(thing: object, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def as_npy(*things: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(things, dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("form", ["torch", "old torch", "pickle", "inside"])
def test_a_checkpoint_is_never_code(bench: Bench, evil: Evil, form: str) -> None:
    job = FitJob(bench.image, "crop", PriorName(CANDIDATES[0]))
    data = {
        "torch": lambda: saved(evil),
        "old torch": lambda: saved(evil, zipped=False),
        "pickle": lambda: pickle.dumps(evil, protocol=2),
        "inside": lambda: saved({"seconds": 0.0, "fit": {"iteration": evil}}),
    }[form]()
    bench.store.put(fit_keys(bench.context, job).checkpoint, data)
    # Whether the fit fails or begins anew does not matter for security.
    with contextlib.suppress(pickle.UnpicklingError):
        run_fit(
            bench.context, job, partial(prior_subject, bench.context, bench.image, "crop", PriorName(CANDIDATES[0]))
        )


def test_the_arrays_of_a_fit_are_never_code(evil: Evil) -> None:
    file = io.BytesIO()
    arrays = dict.fromkeys((field.name for field in fields(FitArrays)), np.zeros(1, np.float32))
    np.savez(file, **{**arrays, "output": np.array([evil], dtype=object)})
    for data in (file.getvalue(), pickle.dumps(evil), as_npy(evil)):
        with pytest.raises((ValueError, AttributeError, TypeError)):
            FitArrays.from_bytes(data)


@pytest.mark.parametrize("form", ["objects", "pickle"])
def test_a_bank_is_never_code(bench: Bench, evil: Evil, form: str) -> None:
    config = bench.context.config
    spec = bank_of(config, bench.image)
    assert spec is not None
    for part in bank_parts(config, spec, candidates_of(config)):
        bench.store.put(part.key, as_npy(evil) if form == "objects" else pickle.dumps(evil))
    with pytest.raises(DamagedError, match=r"part-\w+\.npy is no part of a bank; delete it"):
        score_image(bench.context, bench.image)


def test_a_table_is_never_code(bench: Bench, evil: Evil) -> None:
    # Until pyarrow 14.0.1 a column could bring a pickle of its own type (CVE-2023-47248).
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(evil)}
    columns = {"candidate": pa.string(), "x": pa.int64()}
    schema = pa.schema([pa.field(name, kind, metadata=metadata) for name, kind in columns.items()])
    file = io.BytesIO()
    pq.write_table(pa.table({"candidate": ["a"], "x": [1]}, schema=schema), file)
    layout = bench.context.layout
    for key in (layout.cohort(bench.image.id), layout.scores(bench.image.id)):
        bench.store.put(key, file.getvalue())
    # It is read as its plain columns, in which a study finds nothing that it needs.
    with pytest.raises(KeyError):
        read_table(bench.store, layout, [bench.image])
    assert pq.read_table(io.BytesIO(file.getvalue())).to_pylist() == [{"candidate": "a", "x": 1}]


def test_settings_are_never_code(tmp_path: Path, evil: Evil) -> None:
    file = tmp_path / "settings.yaml"
    for tag in ("object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir", "module:antigravity"):
        file.write_text(f"network: !!python/{tag} ['{evil.trace}']\n")
        with pytest.raises(ConfigError):
            resolve(str(file))
        with pytest.raises(ConfigError):
            resolve("quickstart", [f"network.width=!!python/{tag} ['{evil.trace}']"])


def test_a_kernel_is_never_code(tmp_path: Path, evil: Evil) -> None:
    for number, data in enumerate((as_npy(evil), pickle.dumps(evil))):
        file = tmp_path / f"{number}.npy"
        file.write_bytes(data)
        with pytest.raises(ConfigError, match="neither a kernel's name nor a file of numbers"):
            resolve("quickstart", ["task.name=deblur", f"task.kernel={file}"])


# The page.

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>.png"


class Tags(HTMLParser):
    """The tags of a page, and the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_no_word_of_a_result_is_markup() -> None:
    words = ("image", "arm", "reason", "candidate", "rule", "stopping", "note")
    assert set(words) < {field.name for field in fields(Row)}
    found = report(image())
    attacked = [{**row, **dict.fromkeys(words, ATTACK), "state": state} for row in found.rows for state in RowState]
    shown = [
        replace(
            each, image=ATTACK, rows=attacked, cohort=[{**fit, "reason": ATTACK, "view": ATTACK} for fit in each.cohort]
        )
        for each in found.images
    ]
    calm, page = Tags(render(found)), render(replace(found, rows=attacked, images=shown))
    tags = Tags(page)
    assert "&lt;script&gt;alert(1)" in page
    assert tags.tags.count("script") == calm.tags.count("script") == 1
    assert not [name for name in tags.attributes if name.startswith("on")]
