"""Code that runs in every Python process below this one, once a module has been imported there.

Workers of a run are processes that Ray starts. A hook in them does what no hardware here does (a failing GPU, a crash
at a certain iteration).
"""

import os
from pathlib import Path

_SITE = """
import importlib.abc
import importlib.util
import os
import runpy
import sys


class _After(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            act(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _After())

{code}

# Python runs the first file of this name only.
for entry in {others!r}:
    if os.path.exists(other := os.path.join(entry, "sitecustomize.py")):
        runpy.run_path(other)
        break
"""


def write_hook(folder: Path, module: str, code: str) -> dict[str, str]:
    """Leave a hook in a folder of its own; the environment variables with which processes run it.

    ``code`` defines ``act(module)``, which is called with the module right after its import. Hooks that this process
    was given go on to act.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in paths if path and path != str(folder)]
    (folder / "sitecustomize.py").write_text(_SITE.format(module=module, code=code, others=others))
    return {"PYTHONPATH": os.pathsep.join([str(folder), *others])}
