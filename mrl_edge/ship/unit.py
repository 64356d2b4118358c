"""A systemd unit that keeps `serve.py` of a shipped folder running, with as few rights as it needs."""

from __future__ import annotations

import re

from mrl_edge.errors import UsageError


def check_name(option: str, name: str) -> None:
    """Raise `UsageError` unless what an option writes can have a folder's name."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) is None:
        raise UsageError(
            f"{option} names what it writes after the folder: give --out letters, digits, _ and - alone, not {name}"
        )


def unit(name: str) -> str:
    """Return the unit for a folder that is put to /opt/`name`, with its environment beside it.

    The environment is not inside, where a new folder that is put in this one's place would take it away. No memory
    limit: what is enough depends on the board's onnxruntime.
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
