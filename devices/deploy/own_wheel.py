"""mrl-edge's own wheel, made of the modules that run here: of an editable install too, and without a build tool.

The format: packaging.python.org, "Binary distribution format". The same modules make the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

from mrl_edge.atomic import write_file

_MAPPED = ("mrl_edge.bench", "mrl_edge.devices", "mrl_edge.export")  # an editable install has them beside mrl_edge
_WHEEL = "Wheel-Version: 1.0\nGenerator: mrl-edge\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_own_wheel(folder: Path) -> Path:
    """Write the wheel into a folder and return its path."""
    ours = distribution("mrl-edge")
    info = f"mrl_edge-{ours.version}.dist-info"
    content = {name: path.read_bytes() for name, path in _modules().items()}
    content[f"{info}/METADATA"] = (ours.read_text("METADATA") or ours.read_text("PKG-INFO") or "").encode()
    content[f"{info}/WHEEL"] = _WHEEL.encode()
    content[f"{info}/entry_points.txt"] = (ours.read_text("entry_points.txt") or "").encode()
    lines = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in sorted(content.items())]
    content[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"]).encode()
    path = folder / f"mrl_edge-{ours.version}-py3-none-any.whl"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in content.items():
            wheel.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    write_file(path, packed.getvalue())  # whole at once: another deployment may be reading it
    return path


def _modules() -> dict[str, Path]:
    """Return every module and every data file of the packages by its name in the wheel."""
    found: dict[str, Path] = {}
    for package in ("mrl_edge", *_MAPPED):
        spec = find_spec(package)
        for location in (spec and spec.submodule_search_locations) or ():
            root = Path(location)
            for path in sorted(root.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts and _belongs(path, root):
                    found[f"{package.replace('.', '/')}/{path.relative_to(root).as_posix()}"] = path
    return found


def _belongs(path: Path, root: Path) -> bool:
    """Tell a package's files from what lies beside them in a source tree, as the programs in bench/peers do."""
    inside = [folder for folder in (path.parent, *path.parent.parents) if folder == root or root in folder.parents]
    if path.suffix == ".py":
        return all((folder / "__init__.py").is_file() for folder in inside)
    return (path.parent / "__init__.py").is_file() or "data" in path.relative_to(root).parts


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
