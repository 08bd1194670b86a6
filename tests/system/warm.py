"""Ray's workers, forked from one process that has imported torch once.

Each worker of each run is a process that would spend three CPU-seconds on imports, and a small run has six of them.
Nothing else about them differs: they have the arguments, the environment and the folder that Ray gives them, and
import Ray, what of this project's code needs it, and hooks themselves.
"""

import gc
import inspect
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.system.hook import write_hook

# What takes long to import. Not Ray: its library reads the environment when it is loaded, and that of a worker is its
# own; and its random numbers, of which it makes identifiers, would be equal in all workers. Nor what a hook may act on.
_IMPORTS = (
    *("torch", "scipy.ndimage", "pandas", "pyarrow.parquet", "pydantic", "yaml", "PIL.Image", "tifffile"),
    *("skimage.metrics", "requests", "google.protobuf", "jsonschema", "rich.layout", "fsspec", "filelock", "psutil"),
    *("orchestrator.settings", "orchestrator.images", "workers.restoration", "workers.fingerprints"),
    *("workers.stacking", "workers.classical", "workers.tiles", "workers.lottery.tickets"),
)

# What Ray runs for each worker in the place of its own `default_worker.py`. It imports next to nothing.
_SHIM = """
import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    words = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()])
    socket.send_fds(server, [words.encode() + b"\\n"], [0, 1, 2])
    # The worker holds the other end as long as it lives.
    server.recv(1)
"""


def act(module: ModuleType) -> None:
    """The hook after the import of `ray._private.parameter`, in every process that starts a node of Ray."""
    update = module.RayParams.update_if_absent

    def update_if_absent(self: Any, **parameters: Any) -> None:
        if "worker_path" in parameters and "WARM_WORKER" in os.environ:
            parameters["worker_path"] = os.environ["WARM_WORKER"]
        update(self, **parameters)

    module.RayParams.update_if_absent = update_if_absent


@contextmanager
def warm_workers(folder: Path) -> Iterator[dict[str, str]]:
    """The environment variables with which a process starts a Ray whose workers are forked."""
    address, shim = folder / "socket", folder / "default_worker.py"
    shim.write_text(_SHIM.format(address=str(address)))
    # One thread, as Ray has it for its workers: what is forked has no others.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.system.warm", str(address)],
        cwd=Path(__file__).parents[2],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        code = f"import os\nfrom types import ModuleType\nfrom typing import Any\n\n\n{inspect.getsource(act)}"
        yield {**write_hook(folder / "hook", "ray._private.parameter", code), "WARM_WORKER": str(shim)}
        # It ends when its input does.
        server.communicate()


def _serve(address: str) -> None:
    for name in _IMPORTS:
        __import__(name)
    gc.freeze()
    # Nobody waits for the dead.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            message, files = _read(connection)
            if os.fork() == 0:
                break
            connection.close()
            for file in files:
                os.close(file)
        else:
            return
    _become(*json.loads(message), files)


def _read(connection: socket.socket) -> tuple[bytes, list[int]]:
    message, files, _, _ = socket.recv_fds(connection, 2**20, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(2**20)
    return message, files


def _become(arguments: list[str], environment: dict[str, str], folder: str, files: list[int]) -> None:
    """Be the worker that Ray asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Ray ends the whole group of a worker that is to end.
    os.setpgid(0, 0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:0] = paths
    hook = next((found for entry in paths if (found := Path(entry) / "sitecustomize.py").exists()), None)
    if hook is not None:
        runpy.run_path(str(hook))
    import ray

    worker = str(Path(ray.__file__).parent / "_private/workers/default_worker.py")
    sys.argv = [worker, *arguments]
    runpy.run_path(worker, run_name="__main__")


if __name__ == "__main__":
    _serve(sys.argv[1])
