"""The ports that HTTPS and HTTP are served on.

Every worker listens on sockets of its own (SO_REUSEPORT), so that the kernel spreads new connections over the workers
and a worker that dies takes no waiting connection with it. The supervisor holds the ports by sockets that are bound
but don't listen: nobody else gets them while a worker restarts.
"""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from isthmus.config import Settings
from isthmus.errors import Conflict
from isthmus.server.private_files import write_private

LOOPBACK = "127.0.0.1"


class Ports(msgspec.Struct, frozen=True):
    """The ports of HTTPS and HTTP."""

    https: int
    http: int


class HeldPorts:
    """Two ports that are ours until `release`."""

    def __init__(self, https: socket.socket, http: socket.socket) -> None:
        self._sockets = (https, http)
        self.ports = Ports(https.getsockname()[1], http.getsockname()[1])

    def release(self) -> None:
        """Give the ports back."""
        for held in self._sockets:
            held.close()


def hold_ports(settings: Settings) -> HeldPorts:
    """Take the ports of the settings; for 0 the one used last, if it is free, or any free one, which is then kept.

    Raises Conflict when another process has one of them.
    """
    remembered = _remembered(settings.data_dir)
    https = _hold(settings.host, settings.port, remembered.https if remembered else 0, "port")
    try:
        http = _hold(LOOPBACK, settings.http_port, remembered.http if remembered else 0, "http_port")
    except BaseException:
        https.close()
        raise
    held = HeldPorts(https, http)
    if 0 in (settings.port, settings.http_port):
        write_private(settings.data_dir / "ports.json", msgspec.json.encode(held.ports))
    return held


def listen(host: str, port: int) -> socket.socket:
    """A worker's own socket on a port that its supervisor holds.

    With SO_REUSEADDR too, which its connections inherit: those in TIME_WAIT then don't look like another server.
    """
    return _bind(host, port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)


def _hold(host: str, port: int, remembered: int, setting: str) -> socket.socket:
    if port == 0 and remembered and _is_free(host, remembered):
        port = remembered
    if port and not _is_free(host, port):
        raise Conflict(
            f"{setting} {port} on {host} is taken by another process: choose another one (--port 0 takes a free one), "
            "or stop that process.",
            code="port_taken",
        )
    return _bind(host, port, socket.SO_REUSEPORT)


def _is_free(host: str, port: int) -> bool:
    """Whether nobody listens on or holds a port. SO_REUSEPORT alone would let us in beside another environment."""
    try:
        _bind(host, port, socket.SO_REUSEADDR).close()
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def _bind(host: str, port: int, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _remembered(data_dir: Path) -> Ports | None:
    try:
        return msgspec.json.decode((data_dir / "ports.json").read_bytes(), type=Ports)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
