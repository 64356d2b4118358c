"""A systemd unit that keeps `serve.py` of a shipped folder running, with as few rights as it needs."""

from __future__ import annotations

import math
import re

from mrl_edge.errors import UsageError

_MARGIN = 2  # long texts, many hits and connections at once were not checked


def check_name(option: str, name: str) -> None:
    """Raise `UsageError` unless what an option writes can have a folder's name."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) is None:
        raise UsageError(
            f"{option} names what it writes after the folder: give --out letters, digits, _ and - alone, not {name}"
        )


def unit(name: str, peak_bytes: int | None, further_bytes: int = 0) -> str:
    """Return the unit for a folder that is put to /opt/`name`, with its environment beside it.

    The environment is not inside, where a new folder that is put in this one's place would take it away. `peak_bytes`
    is the most that one level took when it was checked (None: not known), `further_bytes` what the other levels read,
    which the service has open as well.
    """
    env = f"/opt/{name}-env"
    return f"""\
# python3 -m venv {env} && {env}/bin/pip install -r /opt/{name}/requirements.txt
# cp /opt/{name}/{name}.service /etc/systemd/system/ && systemctl enable --now {name}
[Unit]
Description={name}: text search on this machine (mrl-edge)
After=network.target

[Service]
ExecStart={env}/bin/python -B /opt/{name}/serve.py --port 8080
WorkingDirectory=/opt/{name}
DynamicUser=yes
CacheDirectory={name}
Environment=XDG_CACHE_HOME=/var/cache/{name}
Restart=on-failure
{_memory(peak_bytes, further_bytes)}
TasksMax=256
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
"""


def _memory(peak_bytes: int | None, further_bytes: int) -> str:
    """Return the lines that end a service which takes far more than it did when it was checked.

    Swap is none of it: a leak that goes there first slows the whole board down.
    """
    if peak_bytes is None:
        return "# No MemoryMax: where this was shipped the system does not say what a process took."
    most = math.ceil(_MARGIN * (peak_bytes + further_bytes) / 2**20)
    others = f", and the other levels read {further_bytes / 1e6:.0f} MB" if further_bytes else ""
    return f"""\
# {_MARGIN} times what was seen when it was checked: a level took {peak_bytes / 1e6:.0f} MB at most{others}.
# A leak ends this service, which is started again, and not the board. Another onnxruntime may need more.
MemoryMax={most}M
MemorySwapMax=0"""
