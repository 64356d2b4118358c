"""The modules of this package that a shipped folder needs: found by following what is imported."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "mrl_edge"
_ROOTS = ("mrl_edge.app", "mrl_edge.quiet")
_INIT = '''\
"""The part of mrl-edge that this folder needs, as `mrl-edge ship` copied it: see app.py."""

import os

from mrl_edge import quiet as quiet  # before anything imports onnxruntime

# Of numpy, which reads it when it is imported: as it was measured. Threads that wait for work cost a start more.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "{threads}")
'''


def copy_modules(folder: Path, threads: int) -> list[str]:
    """Copy `mrl_edge.app` and what it imports into `folder`/mrl_edge; return the names of the files.

    `threads` are those of a call, for numpy as for onnxruntime.
    """
    names = []
    for module, source in sorted(_needed().items()):
        name = "/".join(module.split(".")) + ("/__init__.py" if source.name == "__init__.py" else ".py")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
        names.append(name)
    # Ours offers what is not shipped.
    (folder / _PACKAGE / "__init__.py").write_text(_INIT.format(threads=threads), encoding="utf-8")
    return [f"{_PACKAGE}/__init__.py", *names]


def _needed() -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = list(_ROOTS)
    while waiting:
        module = waiting.pop()
        spec = find_spec(module) if module not in found and module != _PACKAGE else None
        if spec is None or spec.origin is None:
            continue
        found[module] = Path(spec.origin)
        waiting.append(module.rpartition(".")[0])
        waiting += _imported(ast.parse(found[module].read_text(encoding="utf-8")))
    return found


def _imported(node: ast.AST) -> Iterator[str]:
    """Yield the modules of this package that are imported when a module runs, in functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and child.module and child.module.partition(".")[0] == _PACKAGE:
            yield child.module
            for alias in child.names:  # `from mrl_edge.index import scan` names a module
                if _is_module(f"{child.module}.{alias.name}"):
                    yield f"{child.module}.{alias.name}"
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.partition(".")[0] == _PACKAGE)
        yield from _imported(child)


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False
