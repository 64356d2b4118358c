"""Where a machine is, as a person writes it: `user@host`, `user@host:port`, or a name in ~/.ssh/config."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mrl_edge.errors import UsageError

_FORM = re.compile(
    r"(?:(?P<user>[^@\s:]+)@)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[\w.][\w.-]*))(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True)
class Address:
    """A host; what is None comes from ~/.ssh/config, or is ssh's default."""

    host: str
    user: str | None
    port: int | None

    def __str__(self) -> str:
        """Return it as it is written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.user}@{host}{port}" if self.user else host + port

    @property
    def ssh(self) -> str:
        """The command that a person logs in with."""
        host = f"{self.user}@{self.host}" if self.user else self.host
        return f"ssh -p {self.port} {host}" if self.port else f"ssh {host}"


def read_address(text: str) -> Address:
    """Read an address. Raises `UsageError` for what is none."""
    found = _FORM.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < 65536):
        raise UsageError(f"{text!r} is no address: write user@host, user@host:port, or a name in ~/.ssh/config")
    return Address(found["host"] or found["six"], found["user"], port)
