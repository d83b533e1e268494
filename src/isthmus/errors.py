"""Errors are types that say what to do next; each carries a code that one place per half turns into its wire shape.

`Rejected`     the request is wrong: change it.
`NotFound`     what it names does not exist, or its caller may not see it.
`Conflict`     it was right once: read again, decide, send again.
`Retriable`    nothing is wrong with it: send the same again.
`Unavailable`  a half or a database is away: wait, then send the same again.
`Bug`          a rule of ours was broken: report it.
"""

from __future__ import annotations

from typing import Any


class IsthmusError(Exception):
    """Base of all errors that reach a caller.

    `code` is ours (snake_case, listed in docs/reference/errors.md), `message` a sentence that says which field, what
    was wrong and what to do; `details` names what the message speaks of (half, table, map, field, key, value).
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = {name: value for name, value in details.items() if value is not None}


class Rejected(IsthmusError):
    """The request is wrong and will be refused again unless it is changed."""

    default_code = "rejected"


class NotFound(IsthmusError):
    """The table, column or row named does not exist, or the caller may not see it."""

    default_code = "not_found"


class Conflict(IsthmusError):
    """Somebody else changed what the request relies on: a stale ETag, a key that is taken, a record in doubt."""

    default_code = "conflict"


class Retriable(IsthmusError):
    """The request lost a race (lock time-out, serialization): the same request may go through now."""

    default_code = "retry"


class Unavailable(IsthmusError):
    """A half, a database or a partner does not answer at the moment."""

    default_code = "unavailable"


class Bug(IsthmusError):
    """One of our own invariants was broken. Nothing was written."""

    default_code = "bug"
