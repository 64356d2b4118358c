"""Logging in to a machine over SSH, and the one line that says why it did not work and what to do."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, cast

import asyncssh
from mrl_edge.devices.reach.address import Address

from mrl_edge.errors import ConnectionLostError, ReachError

_LOGIN_S, _KEEP_ALIVE_S, _UNANSWERED = 20, 15, 3  # a silent connection is given up after 45 s
_GLOBAL = "/etc/ssh/ssh_known_hosts"


class _Host(asyncssh.SSHClient):
    """Takes no key that known_hosts does not have, and remembers the one that it refused."""

    refused: asyncssh.SSHKey | None = None
    address: tuple[str, int] = ("", 0)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Refuse."""
        self.refused, self.address = key, (addr, port)
        return False


async def log_in(address: Address) -> asyncssh.SSHClientConnection:
    """Connect as the user's own `ssh` would, with keys alone.

    Raises `ConnectionLostError` where another try may work, as when nobody answers, else `ReachError`.
    """
    options = _options(address)
    known = _known_hosts(address, options)
    host = _Host()
    try:
        return await asyncio.wait_for(
            asyncssh.connect(
                address.host,
                options=asyncssh.SSHClientConnectionOptions(options, known_hosts=known, client_factory=lambda: host),
            ),
            _LOGIN_S,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        _refuse_key(address, options, known, host, error)
    except asyncssh.PermissionDenied:
        raise ReachError(
            f"{address} refuses this user's keys: make `{address.ssh}` work without a password first"
            " (a key with a passphrase is unlocked by ssh-add)"
        ) from None
    except asyncssh.KeyExchangeFailed as error:
        if "host key" in str(error):  # known_hosts has keys of kinds that the host does not offer
            _changed(address, known, "of another kind")
        raise ReachError(f"{address} and we have no cipher in common: {error}") from None
    except (asyncio.TimeoutError, TimeoutError):
        raise ConnectionLostError(f"{address} did not answer in {_LOGIN_S} s: is it on, and on this network?") from None
    except socket.gaierror as error:
        raise ReachError(f"{address}: no host of that name is known: {error.strerror}") from None
    except ConnectionRefusedError:
        raise ConnectionLostError(f"{address} refuses the connection: does sshd run there, and on that port?") from None
    except OSError as error:
        raise ConnectionLostError(f"{address} cannot be reached: {error.strerror or error}") from None
    except asyncssh.Error as error:
        raise ConnectionLostError(f"{address} ended the login: {error.reason}") from None


def _options(address: Address) -> asyncssh.SSHClientConnectionOptions:
    given = {"host": address.host, "username": address.user, "port": address.port}
    try:
        options = asyncssh.SSHClientConnectionOptions(
            **{name: value for name, value in given.items() if value is not None},
            config=(),  # ~/.ssh/config
            password_auth=False,
            kbdint_auth=False,
            ignore_encrypted=True,
            x509_trusted_certs=None,
        )
    except asyncssh.ConfigParseError as error:
        raise ReachError(f"~/.ssh/config cannot be read: {error}") from None
    except (asyncssh.KeyImportError, OSError) as error:
        raise ReachError(f"{address}: a key that ~/.ssh/config names cannot be read: {error}") from None
    if not options.keepalive_interval:
        options = asyncssh.SSHClientConnectionOptions(
            options, keepalive_interval=_KEEP_ALIVE_S, keepalive_count_max=_UNANSWERED
        )
    return options


def _known_hosts(address: Address, options: asyncssh.SSHClientConnectionOptions) -> list[str]:
    """Return the files that hold the keys of known hosts. asyncssh takes any key when ~/.ssh/config says `none`."""
    if options.known_hosts is None:
        raise ReachError(
            f"{address}: ~/.ssh/config turns known_hosts off (UserKnownHostsFile none) for this host, so that any"
            " machine could stand in for it: name a file there"
        )
    named = cast("Sequence[str]", options.known_hosts) or ["~/.ssh/known_hosts", _GLOBAL]
    paths = [Path(name).expanduser() for name in named]
    return [str(path) for path in paths if path.is_file()] or [os.devnull]  # of none asyncssh takes ~/.ssh/known_hosts


def _refuse_key(
    address: Address,
    options: asyncssh.SSHClientConnectionOptions,
    known: list[str],
    host: _Host,
    error: asyncssh.HostKeyNotVerifiable,
) -> NoReturn:
    if host.refused is None:
        raise ReachError(f"{address}: its key is not taken: {error.reason}") from None
    number, port = host.address
    name = options.host_key_alias or options.host or address.host
    keys, *_ = asyncssh.match_known_hosts(known, name, number, port if port != asyncssh.DEFAULT_PORT else None)
    print_of_key = host.refused.get_fingerprint()
    if keys:
        _changed(address, known, print_of_key)
    raise ReachError(
        f"{address} is an unknown host, its key {print_of_key}: log in once with `{address.ssh}`, compare the key"
        " with the machine's own, and run this again"
    ) from None


def _changed(address: Address, known: list[str], now: str) -> NoReturn:
    raise ReachError(
        f"{address} has another key than {' or '.join(known)} has for it, now {now}: it was set up anew, or another"
        f" machine answers in its place; when you know why, `ssh-keygen -R` removes the old key"
    ) from None
