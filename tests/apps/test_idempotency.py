"""Keys of requests as their headers give them."""

from __future__ import annotations

import pytest

from isthmus.apps.idempotency import MAX_KEY_LENGTH, request_key
from isthmus.errors import Rejected


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({b"idempotency-key": b""}, None),
        ({b"idempotency-key": b'"k 1"'}, "k 1"),
        ({b"idempotency-key": b"k1", b"repeatability-request-id": b"r1"}, "k1"),
        ({b"repeatability-request-id": b"r1"}, "r1"),
        ({b"idempotency-key": b"k" * MAX_KEY_LENGTH}, "k" * MAX_KEY_LENGTH),
    ],
)
def test_key_of_a_request(headers: dict[bytes, bytes], key: str | None) -> None:
    assert request_key(headers) == key


@pytest.mark.parametrize("key", [b'""', b" ", b"k" * (MAX_KEY_LENGTH + 1)])
def test_unusable_keys_are_refused(key: bytes) -> None:
    """All requests with an empty key would pass for repetitions of the first."""
    with pytest.raises(Rejected, match="idempotency key"):
        request_key({b"idempotency-key": key})
