"""Requests that carry a key have one effect and one answer, however often they are sent.

The answer is stored in the transaction of the save itself: it is there exactly when the save is. Headers
`Idempotency-Key` (IETF draft) and `Repeatability-Request-ID` (OASIS Repeatable Requests 1.0).
"""

from __future__ import annotations

import hashlib

import msgspec

from isthmus.apps.context import Context
from isthmus.apps.odata_answer import Answer
from isthmus.errors import Rejected

MAX_KEY_LENGTH = 255

_CLAIM = """
insert into isthmus.answer (principal, idempotency_key, request_digest) values ($1, $2, $3)
on conflict (principal, idempotency_key) do nothing
"""
_FIND = "select request_digest, status, headers, body from isthmus.answer where principal = $1 and idempotency_key = $2"
_STORE = """
update isthmus.answer set status = $3, headers = $4, body = $5 where principal = $1 and idempotency_key = $2
"""


def request_key(headers: dict[bytes, bytes]) -> str | None:
    """The request's key, None when it carries none; Rejected when it is too long, or nothing between quotes."""
    key = headers.get(b"idempotency-key") or headers.get(b"repeatability-request-id")
    if key is None:
        return None
    if len(key) > MAX_KEY_LENGTH:
        raise Rejected(f"The idempotency key has {len(key)} characters; use at most {MAX_KEY_LENGTH}.")
    text = key.decode("latin-1").strip().strip('"')
    if key and not text:
        raise Rejected("The idempotency key is empty: give each request a key of its own, or leave the header out.")
    return text or None


def digest(method: str, path: str, query: bytes, body: bytes) -> bytes:
    """Tells one request from another that reuses its key."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), query, body))).digest()


async def claim(context: Context, key: str, request_digest: bytes) -> Answer | None:
    """Take the key for this transaction; the stored answer when it has been used before.

    A second request with the key waits here until the first one ends: it then finds the answer, or, when the first was
    refused, takes its place. Rejected when the key was used for another request.
    """
    taken = await context.transaction.run(_CLAIM, context.principal.object_id, key, request_digest)
    if taken == "INSERT 0 1":
        return None
    record = await context.transaction.row(_FIND, context.principal.object_id, key)
    if record["request_digest"] != request_digest:
        raise Rejected(
            f"The idempotency key '{key}' was used for a different request. Use a new key for a new request.",
            code="idempotency_key_reused",
        )
    headers = msgspec.json.decode(record["headers"], type=list[tuple[str, str]])
    return Answer(
        record["status"],
        tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers),
        record["body"],
    )


async def store(context: Context, key: str, answer: Answer) -> None:
    """Keep the answer with the save; both become durable together."""
    headers = msgspec.json.encode([(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers])
    await context.transaction.run(_STORE, context.principal.object_id, key, answer.status, headers, answer.body)
