"""Where this program keeps what it can make again: `mrl-edge` in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder, which may not exist yet: in XDG_CACHE_HOME where that is set, else in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mrl-edge"
