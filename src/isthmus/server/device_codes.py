"""Device codes that wait for approval. They are files, because the poll and the approval may reach different workers.

A file is named by the hash of the user code and holds only the hash of the device code: who reads the directory can
neither approve a sign-in nor take one over.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Literal

import msgspec

from isthmus.server.private_files import read_private, write_private

LIFETIME_SECONDS = 900
POLL_SECONDS = 5
MOST_PENDING = 1000
# Letters and digits that can't be taken for one another: 8 of them carry 36 bits, for 15 minutes and 10 tries a minute.
ALPHABET = "BCDFGHJKMNPQRTVWXY2346789"
USER_CODE_LENGTH = 8

Progress = Literal["pending", "expired", "unknown"]


class DeviceCode(msgspec.Struct, frozen=True):
    """One sign-in: `expires_at` in seconds since 1970, `approved_by` the object id of the user or empty."""

    device_code_sha256: str
    client_id: str
    resource: str
    scope: str
    expires_at: float
    approved_by: str = ""


class TooManyPending(Exception):
    """More sign-ins wait for approval than anybody could want."""


class DeviceCodes:
    """The pending sign-ins of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "device_codes"

    def begin(self, client_id: str, resource: str, scope: str) -> tuple[str, str]:
        """Start a sign-in and return its device code and its user code. Raises TooManyPending."""
        self._drop_expired()
        user_code = "".join(secrets.choice(ALPHABET) for _ in range(USER_CODE_LENGTH))
        name = _hash(user_code)
        device_code = f"{name}.{secrets.token_urlsafe(32)}"
        pending = DeviceCode(_hash(device_code), client_id, resource, scope, time.time() + LIFETIME_SECONDS)
        self._write(name, pending)
        return device_code, user_code

    def approve(self, user_code: str, object_id: str) -> bool:
        """Let a user approve the sign-in with this user code; False when there is none (any more)."""
        name = _hash(user_code.upper().replace("-", "").replace(" ", ""))
        pending = self._read(name)
        if pending is None or pending.expires_at <= time.time() or pending.approved_by:
            return False
        self._write(name, msgspec.structs.replace(pending, approved_by=object_id))
        return True

    def redeem(self, device_code: str, client_id: str) -> DeviceCode | Progress:
        """The approved sign-in, exactly once; or how far it has come."""
        name = device_code.partition(".")[0]
        pending = self._read(name) if _is_hash(name) else None
        if pending is None or not hmac.compare_digest(pending.device_code_sha256, _hash(device_code)):
            return "unknown"
        if pending.client_id != client_id:
            return "unknown"
        if pending.expires_at <= time.time():
            return "expired"
        if not pending.approved_by:
            return "pending"
        try:
            (self._directory / name).unlink()
        except FileNotFoundError:
            return "unknown"
        return pending

    def _read(self, name: str) -> DeviceCode | None:
        try:
            return msgspec.json.decode(read_private(self._directory / name), type=DeviceCode)
        except FileNotFoundError:
            return None

    def _write(self, name: str, pending: DeviceCode) -> None:
        write_private(self._directory / name, msgspec.json.encode(pending))

    def _drop_expired(self) -> None:
        if not self._directory.exists():
            return
        names = [path.name for path in self._directory.iterdir() if _is_hash(path.name)]
        alive = 0
        for name in names:
            pending = self._read(name)
            if pending is not None and pending.expires_at <= time.time():
                (self._directory / name).unlink(missing_ok=True)
            else:
                alive += 1
        if alive >= MOST_PENDING:
            raise TooManyPending


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_hash(name: str) -> bool:
    return len(name) == 64 and all(character in "0123456789abcdef" for character in name)
