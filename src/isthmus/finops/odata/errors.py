"""Our errors as F&O's OData shows them: status, and the error object with its inner error. All of it is here.

The outer message is always the same; what happened stands in `innererror.message`, refused writes as the infolog of the
entity (shape: real answers quoted in public issues, such as Dynamics-AX-Integration 61). No stack trace is ever shown.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.errors import Bug, Conflict, IsthmusError, NotFound, Rejected, Retriable, Unavailable

OUTER_MESSAGE = "An error has occurred."
WRITE_TYPE = "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException"
QUERY_TYPE = "Microsoft.OData.ODataException"
OTHER_TYPE = "System.InvalidOperationException"

STATUS: Mapping[str, int] = {
    "segment_not_found": 404,
    "method_not_allowed": 405,
    "duplicate_key": 409,
    "in_use": 409,
    "version_mismatch": 412,
    "payload_too_large": 413,
    "idempotency_key_reused": 422,
}
"""Status of each of our codes that has one of its own; others go by the type of the error."""

ABOUT_THE_REQUEST = frozenset(
    {
        "idempotency_key_reused",
        "method_not_allowed",
        "payload_syntax",
        "payload_too_large",
        "precondition_syntax",
        "segment_not_found",
    }
)
"""Codes of writes that were refused before any record was looked at: they have no infolog."""

BY_TYPE: tuple[tuple[type[IsthmusError], int], ...] = (
    (Rejected, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Retriable, 503),
    (Unavailable, 503),
    (Bug, 500),
)

RETRY_SECONDS = 1


class WireError(msgspec.Struct, frozen=True):
    """An error as it is sent: status, and what stands in the inner error."""

    status: int
    message: str
    type: str

    @property
    def body(self) -> bytes:
        """The JSON that clients read."""
        inner = {"message": self.message, "type": self.type, "stacktrace": ""}
        return msgspec.json.encode({"error": {"code": "", "message": OUTER_MESSAGE, "innererror": inner}})

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers that belong to the error."""
        return ((b"retry-after", str(RETRY_SECONDS).encode()),) if self.status == 503 else ()


def wire_error(error: IsthmusError | None, correlation_id: str, entity: str | None) -> WireError:
    """How an error is answered. `entity` is the AOT name of the data entity that was written, None for reads.

    None is an error we do not know, which the log has under the correlation id.
    """
    if error is None:
        message = f"An unexpected error occurred; nothing was saved. It is in the log under request {correlation_id}."
        return WireError(500, message, OTHER_TYPE)
    if isinstance(error, NotFound) and _by_partner(error):
        # What is missing there was not what the address named.
        error = Rejected(error.message, code=error.code, **error.details)
    status = STATUS.get(error.code) or next(status for kind, status in BY_TYPE if isinstance(error, kind))
    if entity is None or error.code in ABOUT_THE_REQUEST:
        return WireError(status, error.message, QUERY_TYPE)
    if not isinstance(error, (Rejected, Conflict)):
        return WireError(status, error.message, OTHER_TYPE)
    return WireError(status, _infolog(entity, error), WRITE_TYPE)


def _infolog(entity: str, error: IsthmusError) -> str:
    """The lines of the infolog: what was refused, and where it was noticed."""
    level = "Info" if isinstance(error, Conflict) else "Warning"
    lines = [f"{level}: {error.message.removesuffix('.')}"]
    field = error.details.get("field")
    if isinstance(error, Rejected) and not _by_partner(error):
        lines.append(
            f"Warning: validateField failed on field '{entity}.{field}'"
            if field
            else f"Warning: validateWrite failed on data source '{entity}'"
        )
    return f"Write failed for table row of type '{entity}'. Infolog: {'; '.join(lines)}."


def _by_partner(error: IsthmusError) -> bool:
    """Whether it was the other half that refused the save."""
    return error.details.get("half") == "dataverse"
