"""All of `app.json`: what `app.py` reads as an `AppInfo`, and the files' hashes, which it compares first."""

from __future__ import annotations

from dataclasses import dataclass

from mrl_edge.app import AppInfo
from mrl_edge.bundle import FileEntry


@dataclass(frozen=True)
class AppManifest(AppInfo):
    """What a shipped folder is, and the size and hash of every other file of it."""

    files: dict[str, FileEntry]  # by path in the folder
