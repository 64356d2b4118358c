"""What this machine's processor computes with, and which targets of a precision it suits.

A quantised graph is right on every processor only when its flags fit the instructions: see docs/precisions.md.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Set
from functools import cache
from pathlib import Path

TARGETS = ("avx2", "avx512", "avx512-vnni", "arm64", "cuda")
ANY = "any"  # the target of bytes that suit every processor
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})  # dot products that accumulate in 32 bits


def allowed_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def features() -> frozenset[str]:
    """Return the instruction sets as /proc/cpuinfo names them; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()


def target_of(machine: str, flags: Set[str]) -> str:
    """Return the target of a processor, from `platform.machine()` and its features."""
    if machine.lower() in ("aarch64", "arm64"):
        return "arm64"
    if flags & _VNNI:
        return "avx512-vnni"
    if "avx512bw" in flags:
        return "avx512"
    return "avx2" if "avx2" in flags or not flags else ANY


def this_target() -> str:
    """Return the target of this machine's processor; `any` for one that is none of them."""
    return target_of(platform.machine(), features())


def saturates(target: str, here: str) -> bool:
    """Return whether sums of 8-bit products made for a target, perhaps several, may saturate on a processor."""
    return here in ("avx2", "avx512") and not set(target.split(",")) & {ANY, "avx2", "avx512"}


def fitness(target: str, here: str) -> int:
    """Return how well a variant's target, perhaps several as in `arm64,avx512-vnni`, suits a processor.

    2: it was made for it. 1: it computes the same there, perhaps slower. 0: only with its weights
    made unsigned, or its sums may saturate.
    """
    made_for = set(target.split(","))
    if ANY in made_for or here in made_for:
        return 2
    return 0 if saturates(target, here) else 1
