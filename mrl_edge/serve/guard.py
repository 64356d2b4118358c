"""Who may ask: the bearer of the token, and no page of another site that found its way to this machine."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mrl_edge.errors import UsageError
from mrl_edge.serve.errors import ApiError

_OPEN = ("/healthz",)


class Guard:
    """Lets a request through or answers it: 401 without the token, 421 for a host that this is not.

    A page whose name is made to resolve to 127.0.0.1 (DNS rebinding) sends that name as its host, and could read
    what it gets. So a service without a token answers to addresses, `localhost` and the `hosts` that were named.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._token = None if token is None else _digest(token)
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http" and (error := self._refusal(scope)) is not None:
            await error.answer()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        if self._token is None:
            host = headers.get("host", "")
            if not _is_here(host) and _name_of(host) not in self._hosts:
                known = f"{host!a:.100} is no name of this service: start it with --allow-host or --token-file"
                return ApiError(421, known, "unknown_host")
            return None
        if scope["path"] in _OPEN:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        # Of equal length, and compared in constant time: an answer's time says nothing of the token.
        if kind.lower() == "bearer" and hmac.compare_digest(_digest(given.strip()), self._token):
            return None
        return ApiError(
            401, "send the token of this service, as Authorization: Bearer TOKEN", "invalid_api_key", None,
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip


def read_token(path: Path) -> str:
    """Read a token: one line of visible ASCII characters; `UsageError` for anything else."""
    token = path.read_bytes().strip()
    if not token or not all(0x21 <= sign <= 0x7E for sign in token):
        raise UsageError(f"--token-file {path}: expected one token of visible ASCII characters, and nothing else")
    return token.decode("ascii")


def is_loopback(address: str) -> bool:
    """Whether an address that is listened on is reached from this machine alone."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def allowed_host(host: str) -> str:
    """Return the name that `--allow-host` gives, its port left out, as `Host` has it for every port alike."""
    name = _name_of(host.strip())
    if not name or "/" in name:
        raise UsageError(f"--allow-host {host}: expected a name, as in kitchen.example")
    return name


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _name_of(host: str) -> str:
    """Return the host of `name:port` or `[address]:port`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_here(host: str) -> bool:
    name = _name_of(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
