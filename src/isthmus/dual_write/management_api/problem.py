"""Errors as the management API shows them: problem details (RFC 9457) with our code and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from isthmus.errors import Bug, Conflict, IsthmusError, NotFound, Rejected, Retriable, Unavailable

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1

STATUS: Mapping[str, int] = {
    "method_not_allowed": 405,
    "payload_too_large": 413,
    "idempotency_key_reused": 422,
    "user_not_member": 403,
    "user_disabled": 403,
}
"""Status of each code that has one of its own; others go by the type of the error."""

BY_TYPE: tuple[tuple[type[IsthmusError], int, str, str], ...] = (
    (Rejected, 400, "The request was refused", "Change the request: it will be refused again as it is."),
    (NotFound, 404, "Not found", "Correct the name: what it names is not there."),
    (Conflict, 409, "Something else happened meanwhile", "Read again, decide, and send the request again."),
    (Retriable, 503, "Not now", "Send the same request again."),
    (Unavailable, 503, "Away at the moment", "Wait, then send the same request again."),
    (Bug, 500, "A fault of the server", "Report it, with the correlation id: the log has the rest."),
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not carried out.

    `detail` is a sentence that says what is wrong and what to do, `what_to_do` what holds for this kind of error,
    `code` the error's own name (docs/reference/errors.md), `field` the part of the request it is about. `details` are
    what the sentence names: half, table map, key, value.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    what_to_do: str
    correlation_id: str
    field: str | None = None
    details: dict[str, Any] = {}


def problem_of(error: IsthmusError | None, correlation_id: str) -> Problem:
    """How an error is shown; None is one that nobody foresaw, which the log has under the correlation id."""
    if error is None:
        error = Bug("An unexpected error occurred.")
    _, status, title, what_to_do = next(entry for entry in BY_TYPE if isinstance(error, entry[0]))
    return Problem(
        type=f"urn:isthmus:error:{error.code}",
        title=title,
        status=STATUS.get(error.code, status),
        detail=error.message,
        code=error.code,
        what_to_do=what_to_do,
        correlation_id=correlation_id,
        field=error.details.get("field"),
        details={name: value for name, value in error.details.items() if name != "field"},
    )


def problem_response(error: IsthmusError | None, correlation_id: str) -> Response:
    """The answer to a request that was not carried out."""
    problem = problem_of(error, correlation_id)
    headers = {"retry-after": str(RETRY_SECONDS)} if problem.status == 503 else {}
    return Response(msgspec.json.encode(problem, enc_hook=str), problem.status, headers, MEDIA_TYPE)
