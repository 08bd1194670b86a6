"""Whether all that a run needs is here, and what to do where it is not.

Every question is asked by itself: one that fails, or gets no answer in time, leaves the others alone. The store is asked to
keep small objects for a moment; nothing else is changed, and no secret is in any answer.
"""

import contextlib
import http.client
import importlib.metadata
import ipaddress
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError, StoreError, StoreUnavailableError
from orchestrator.store import Store, check_store, open_store

if TYPE_CHECKING:
    from orchestrator.resources.share import Machine

RAY_SERIES = "2.60"
"""The releases of Ray that are supported, as pyproject.toml says it."""

DEADLINE_S = 20.0
"""For how long an answer is waited for; importing torch from a slow disk takes most of it."""

_ASKED_S = 5.0
_PATIENCE_S = 2.0
_LEAST_DISK = 2e9
_LEAST_MEMORY = 4e9
_MOST_BYTES = 1 << 24
_REFUSALS = (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN)
_COPY = "copy the cluster's token (`ray get-auth-token` on its head) to ~/.ray/auth_token, and chmod 600 it"
_INSTALL = "install what pyproject.toml lists: make install, or pip install ."


@dataclass(frozen=True)
class Check:
    """An answer: what was looked at, what was found and, where that will not do, what to do about it."""

    check: str
    found: str
    advice: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is to be done."""
        return self.advice is None

    def to_dict(self) -> dict[str, Any]:
        """The answer for programs: check, ok, found, advice."""
        return {"check": self.check, "ok": self.ok, "found": self.found, "advice": self.advice}


def examine(place: str, address: str | None = None) -> Iterator[Check]:
    """All answers, each as soon as it is there.

    Args:
        place: The store's.
        address: The address of a Ray cluster's dashboard, to be looked at as well.
    """
    questions: dict[str, Callable[[], Iterable[Check]]] = {
        "python": lambda: [check_python(sys.version_info[:3])],
        "ray": lambda: [check_ray(_version("ray"))],
        "token": lambda: [check_token()],
        "environment": lambda: [check_environment(os.environ)],
        "torch": lambda: check_torch(_torch_here(), _nvidia_gpus()),
        "machine": _check_this_machine,
        "disk": lambda: starmap(check_disk, _folders(place)),
        "store": lambda: check_objects(open_store(place, patience_s=_PATIENCE_S)),
    }
    if address is not None:
        questions["cluster"] = partial(check_cluster, address)
    for name, question in questions.items():
        yield from answers(name, question)


def answers(name: str, question: Callable[[], Iterable[Check]], deadline_s: float = DEADLINE_S) -> Iterator[Check]:
    """The answers to a question and, where it fails or takes longer than so many seconds, that it does."""
    told: SimpleQueue[Check | None] = SimpleQueue()

    def ask() -> None:
        try:
            for check in question():
                told.put(check)
        except OrchestratorError as error:
            told.put(Check(name, str(error), "correct what it names"))
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            told.put(
                Check(name, said, _INSTALL if isinstance(error, ImportError) else "this was not foreseen: report it")
            )
        finally:
            told.put(None)

    # A call into a driver or a network file system may never return; a daemon ends with the process all the same.
    threading.Thread(target=ask, name=f"doctor: {name}", daemon=True).start()
    end = time.monotonic() + deadline_s
    try:
        while (check := told.get(timeout=max(0, end - time.monotonic()))) is not None:
            yield check
    except Empty:
        yield Check(name, f"no answer within {deadline_s:g} s", "find out what hangs: a disk, a network or a driver")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python(version: Sequence[int]) -> Check:
    """Python, by its (major, minor, micro) version."""
    old = tuple(version[:2]) < (3, 11)
    return Check(
        "python",
        f"Python {'.'.join(map(str, version))}",
        "install Python 3.11 or newer: make install PYTHON=python3.11" if old else None,
    )


def check_ray(version: str | None) -> Check:
    """Ray, by its version; None where it is not installed."""
    if version is None:
        return Check("ray", "Ray is not installed", _INSTALL)
    supported = f"{version}.".startswith(f"{RAY_SERIES}.")
    return Check("ray", f"Ray {version}", None if supported else f"install Ray {RAY_SERIES}: {_INSTALL}")


def check_token() -> Check:
    """The secret that a Ray asks everyone for."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        said = "RAY_AUTH_MODE=disabled: whoever reaches a port of Ray may run code as you"
        return Check("token", said, "unset RAY_AUTH_MODE, or set it to token")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check("token", "from RAY_AUTH_TOKEN")
    path = _token_file()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        if "RAY_AUTH_TOKEN_PATH" in os.environ:
            return Check("token", f"there is no {path}, which RAY_AUTH_TOKEN_PATH names", "correct it, or unset it")
        return Check("token", "none yet: the first run makes one that only you can read")
    open_to_others = mode & (stat.S_IRWXG | stat.S_IRWXO)
    return Check("token", f"{path} has the mode {mode:04o}", f"chmod 600 {path}" if open_to_others else None)


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def _our_token() -> str | None:
    """The token, found as Ray finds it; None if there is none that a request can carry."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if not token:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            token = _token_file().read_text(encoding="ascii")
    token = token.strip()
    return token if token.isascii() and token.isprintable() and token else None


def check_environment(names: Iterable[str]) -> Check:
    """Which variables there are that the project, Ray, torch or boto3 heed: their names only, as values may be secrets."""
    heeded = re.compile(r"(DIP|RAY|AWS)_.*|CUDA_VISIBLE_DEVICES|(OMP|MKL)_NUM_THREADS|TMPDIR|XDG_CACHE_HOME")
    found = sorted(name for name in names if heeded.fullmatch(name))
    return Check("environment", f"set: {', '.join(found)}" if found else "nothing set that changes a run")


@dataclass(frozen=True)
class Torch:
    """What torch says of itself: its version, the CUDA that it was built with, the CPU's instructions that it uses, and the
    GPUs that it sees, by name and bytes of memory."""

    version: str
    cuda: str | None
    capability: str
    gpus: Sequence[tuple[str, int]] = ()


def _torch_here() -> Torch:
    import torch  # noqa: PLC0415 - a torch that cannot be imported is an answer, and to this question only

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about drivers; what follows from them is told
        count = torch.cuda.device_count()
        seen = [torch.cuda.get_device_properties(index) for index in range(count)]
    built_with = torch.version.cuda or getattr(torch.version, "hip", None)
    gpus = [(gpu.name, gpu.total_memory) for gpu in seen]
    return Torch(torch.__version__, built_with, torch.backends.cpu.get_cpu_capability(), gpus)


def _nvidia_gpus() -> list[str]:
    """The GPUs that NVIDIA's driver lists, unless they were hidden on purpose."""
    program = shutil.which("nvidia-smi")
    if program is None or "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = [program, "--query-gpu=name", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ASKED_S)  # noqa: S603
        return [name.strip() for name in listed.stdout.splitlines() if name.strip()]
    return []


def _convolve(device: str) -> float:
    """The sum of a convolution on a device; 36."""
    import torch  # noqa: PLC0415

    image, kernel = torch.ones(1, 1, 4, 4, device=device), torch.ones(1, 1, 3, 3, device=device)
    return float(torch.nn.functional.conv2d(image, kernel).sum())


def check_torch(torch: Torch, listed: Sequence[str], convolve: Callable[[str], float] = _convolve) -> Iterator[Check]:
    """Torch, and whether it computes on the CPU and on every GPU.

    Args:
        torch: What it says of itself.
        listed: The GPUs that the driver knows.
        convolve: Convolves on a device.
    """
    yield _computes("torch", f"torch {torch.version}, {torch.capability}", "cpu", _INSTALL, convolve)
    for index, (name, memory) in enumerate(torch.gpus):
        found = f"{name}, {memory / 1e9:.1f} GB"
        advice = "install a torch that supports this GPU and its driver (https://pytorch.org), or set resources.gpus=0"
        yield _computes("gpu", found, f"cuda:{index}", advice, convolve)
    if torch.gpus:
        return
    if not listed:
        yield Check("gpu", "none: networks are fitted on the CPU; `submit --dry-run` says how long that takes")
    elif torch.cuda is None:
        said = f"{listed[0]} is here, but torch {torch.version} is built without CUDA, so that networks are fitted on the CPU"
        yield Check("gpu", said, "install a torch with CUDA: https://pytorch.org/get-started/locally")
    else:
        said = f"{listed[0]} is here, but torch {torch.version} does not see it"
        yield Check(
            "gpu", said, f"install a driver that is new enough for CUDA {torch.cuda}, or a torch for an older one"
        )


def _computes(check: str, found: str, device: str, advice: str, convolve: Callable[[str], float]) -> Check:
    try:
        total = convolve(device)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        return Check(check, f"{found}: a convolution fails on {device}: {reason}", advice)
    if total != 36:
        return Check(check, f"{found}: a convolution on {device} gives {total:g} instead of 36", advice)
    return Check(check, found)


def _check_this_machine() -> list[Check]:
    from orchestrator.resources.share import Machine, this_machine  # noqa: PLC0415 - it imports torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [check_machine(this_machine(), Machine(os.cpu_count() or 1, pages))]


def check_machine(usable: "Machine", whole: "Machine") -> Check:
    """CPUs and memory that a run may use, and those of the whole machine."""
    found = f"{usable.cpus} CPUs, {usable.memory / 1e9:.1f} GB of memory"
    if usable.cpus < whole.cpus or usable.memory < whole.memory:
        found += f" (the machine's {whole.cpus} and {whole.memory / 1e9:.1f} GB are limited for this process)"
    small = usable.memory < _LEAST_MEMORY
    return Check("machine", found, "allow it 4 GB or more: Ray and its workers alone take 2 to 3" if small else None)


def _folders(place: str) -> Iterator[tuple[str, Path, str]]:
    """Where a run writes on this machine: what, which folder, and how another is chosen."""
    if place.lower().startswith("s3://"):
        from orchestrator.store.s3 import cache_folder  # noqa: PLC0415 - it imports boto3

        yield "the store's copies", Path(cache_folder()).expanduser(), "set DIP_CACHE to another place"
    elif "://" not in place:
        yield "the store", Path(place).expanduser().absolute(), "choose another place with --store"
    # As Ray chooses it.
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    yield "Ray's files", Path(temporary, "ray"), "set RAY_TMPDIR to another place"


def check_disk(of: str, folder: Path, advice: str) -> Check:
    """The room there is for what a folder, which need not exist yet, will hold."""
    there = next(path for path in (folder, *folder.parents) if os.path.isdir(path))  # noqa: PTH112 - never raises
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free for {of}, {folder}"
    return Check("disk", found, f"free some space, or {advice}" if free < _LEAST_DISK else None)


def check_objects(store: Store) -> Iterator[Check]:
    """Whether a store keeps what a run gives it, and creates an object once only, by which drivers tell whose a run is."""
    root = None if "://" in store.url else Path(store.url)
    made = [] if root is None else [path for path in (root / "probes", root) if not path.exists()]
    prefix = f"probes/{uuid.uuid4().hex}"
    try:
        plainly = _check_plainly(store, f"{prefix}/plain")
        yield plainly
        if plainly.ok:
            yield _check_create_once(store, f"{prefix}/once")
    finally:
        with contextlib.suppress(StoreError):
            store.delete_all(prefix)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _check_plainly(store: Store, key: str) -> Check:
    data = key.encode()
    try:
        store.put(key, data)
        does = {
            "give back what it was given": store.get(key) == data,
            "list what it holds": key in store.keys(key.rpartition("/")[0]),
        }
        store.delete(key)
        does["delete"] = not store.exists(key)
    except StoreError as error:
        return Check("store", str(error), _advice(error))
    wrong = [what for what, well in does.items() if not well]
    if wrong:
        return Check("store", f"{store.url} does not {' nor '.join(wrong)}", "choose another place with --store")
    return Check("store", f"{store.url} writes, reads, lists and deletes")


def _check_create_once(store: Store, key: str) -> Check:
    try:
        check_store(store, key)
    except StoreUnavailableError as error:
        return Check("create-once", str(error), _advice(error))
    except StoreError as error:
        # All else the store has just done.
        said = f"two drivers could take one run: {error}"
        return Check("create-once", said, "choose a place that can (docs/store.md)")
    return Check("create-once", "of many who create an object, one does")


def _advice(error: StoreError) -> str:
    if isinstance(error, StoreUnavailableError):
        return "bring it back, or wait, and ask again; a run would wait, too (resources.store_patience_s)"
    return "correct what it names; docs/store.md says what a store needs"


def check_cluster(address: str) -> Iterator[Check]:
    """A Ray cluster by its dashboard: whether it can be reached, lets in nobody but us, and has our Ray, and machines."""
    dashboard = _Dashboard.parse(address)
    if dashboard is None:
        yield Check("cluster", "--address is no dashboard's", "give it as http://127.0.0.1:8265")
        return
    try:
        yield from _ask_cluster(dashboard)
    except (OSError, http.client.HTTPException) as error:
        yield Check(
            "cluster",
            f"{dashboard} cannot be reached: {error or type(error).__name__}",
            "is the cluster up, and this its dashboard's port? From elsewhere, open a tunnel: ray dashboard CLUSTER.yaml, or"
            " ssh -N -L 8265:127.0.0.1:8265 HEAD",
        )


@dataclass(frozen=True)
class _Dashboard:
    """The HTTP API of a dashboard. It is asked directly: a proxy, or who redirects us, would learn the token."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, address: str) -> "_Dashboard | None":
        """The dashboard at ``http://host:port``; None if it says something else, which is not echoed: it may be a secret."""
        try:
            parts = urllib.parse.urlsplit(address)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return None
        plain = parts.scheme in ("http", "https") and parts.path in ("", "/") and not parts.query + parts.fragment
        host = parts.hostname or ""
        if not plain or "@" in parts.netloc or not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
            return None
        return cls(parts.scheme, host, port)

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def in_clear(self) -> bool:
        """Whether what is said to it can be read on the way."""
        try:
            stays = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            stays = self.host == "localhost"
        return self.scheme == "http" and not stays

    def ask(self, path: str, token: str | None = None) -> tuple[int, Any]:
        """The status and the JSON of an answer; None where it is none."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        with contextlib.closing(kind(self.host, self.port, timeout=_ASKED_S)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            body = answer.read(_MOST_BYTES)
        try:
            return answer.status, json.loads(body)
        except (ValueError, RecursionError):
            return answer.status, None


def _ask_cluster(dashboard: _Dashboard) -> Iterator[Check]:
    token = None
    status, answer = dashboard.ask("/api/version")
    if status in _REFUSALS:
        # Only now: a dashboard that lets in everybody need not see our token.
        yield Check("cluster", f"{dashboard} asks for a token")
        token = _our_token()
        if token is None:
            yield Check("cluster token", "none here", _COPY)
            return
        status, answer = dashboard.ask("/api/version", token)
        if status in _REFUSALS:
            yield Check("cluster token", f"ours is refused (HTTP {status})", _COPY)
            return
    version = answer.get("ray_version") if isinstance(answer, dict) else None
    if status != http.HTTPStatus.OK or version is None:
        said = f"{dashboard} answers (HTTP {status}), but not as Ray's dashboard does"
        yield Check("cluster", said, "give the address of the head's dashboard, by default at port 8265")
        return
    if token is None:
        said = f"{dashboard} ANSWERS WITHOUT A TOKEN: whoever reaches it may run any code on the cluster"
        yield Check("cluster", said, "close the port now, and start all nodes with RAY_AUTH_MODE=token (SECURITY.md)")
    else:
        clear = "; it went there unencrypted: outside a private network use a tunnel" if dashboard.in_clear else ""
        yield Check("cluster token", f"ours is accepted{clear}")
    here = _version("ray")
    advice = None if version == here else f"install the same: Ray {here} is here"
    yield Check("cluster version", f"Ray {version}", advice)
    yield _of_nodes(dashboard.ask("/nodes?view=summary", token)[1])


def _of_nodes(answer: Any) -> Check:
    try:
        nodes = [node["raylet"] for node in answer["data"]["summary"]]
        totals = [node["resourcesTotal"] for node in nodes if node["state"] == "ALIVE"]
        cpus, gpus = (sum(float(total.get(kind, 0)) for total in totals) for kind in ("CPU", "GPU"))
    except (TypeError, KeyError, ValueError, AttributeError):
        return Check("cluster nodes", "the dashboard does not tell of them", "look into dashboard.log on its machine")
    found = f"{len(totals)} alive, {cpus:g} CPUs, {gpus:g} GPUs"
    if totals and not cpus:
        # A head that leaves the work to others, on which an autoscaler waits for work.
        found += "; if more are to come when there is work, all is well, else see why none joins: ray status"
    return Check("cluster nodes", found, None if totals else "see why its machines do not join: ray status")
