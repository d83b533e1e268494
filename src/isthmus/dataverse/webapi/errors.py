"""Our errors as the Web API shows them: status, Dataverse's code, message. The one place that knows both.

Sources of codes and statuses: Dataverse's "Web service error codes" and "Compose HTTP requests and handle errors".
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.errors import Bug, Conflict, IsthmusError, NotFound, Rejected, Retriable, Unavailable

WIRE: Mapping[str, tuple[int, str]] = {
    # the address and the query
    "query_syntax": (400, "0x80060888"),
    "query_too_complex": (400, "0x80060888"),
    "expand_too_large": (400, "0x80060888"),
    "unknown_option": (400, "0x80060888"),
    "not_supported": (400, "0x80060888"),
    "property_not_found": (400, "0x80060888"),
    "type_mismatch": (400, "0x80060888"),
    "unknown_function": (400, "0x80060888"),
    "invalid_skiptoken": (400, "0x80060888"),
    "path_syntax": (400, "0x80060888"),
    "segment_not_found": (404, "0x80060888"),
    "table_not_found": (404, "0x80060888"),
    "key_not_declared": (400, "0x80060888"),
    "method_not_allowed": (405, "0x80060888"),
    "precondition_syntax": (400, "0x80060888"),
    # the body
    "payload_syntax": (400, "0x80048d19"),
    "payload_property": (400, "0x80048d19"),
    "value_type": (400, "0x80048d19"),
    "column_not_found": (400, "0x80048d19"),
    "column_not_supported": (400, "0x80048d19"),
    "payload_too_large": (413, "0x80040203"),
    "text_too_long": (400, "0x80044331"),
    "integer_out_of_range": (400, "0x8004432f"),
    "number_out_of_range": (400, "0x80044330"),
    "date_out_of_range": (400, "0x80040203"),
    "value_out_of_range": (400, "0x80040203"),
    "option_not_found": (400, "0x8004431a"),
    "state_mismatch": (400, "0x80048408"),
    "required_column": (400, "0x80040203"),
    "company_read_only": (400, "0x80040203"),
    "lookup_target": (400, "0x80040203"),
    "key_given_twice": (400, "0x80040216"),
    "too_many_rows": (400, "0x80040203"),
    "too_deep": (400, "0x80044182"),
    "not_deletable": (400, "0x80040203"),
    # the rows
    "row_not_found": (404, "0x80040217"),
    "lookup_not_found": (404, "0x80040217"),
    "key_row_not_found": (404, "0x80060891"),
    "version_mismatch": (412, "0x80060882"),
    "row_exists": (412, "0x80040237"),
    "duplicate_id": (412, "0x80040237"),
    "duplicate_key": (412, "0x80060892"),
    "delete_restricted": (400, "0x80040227"),
    "record_in_use": (409, "0x80040227"),
    "constraint_broken": (400, "0x80040265"),
    # the caller
    "user_not_member": (403, "0x80072560"),
    "user_disabled": (403, "0x80040225"),
    "idempotency_key_reused": (422, "0x80040203"),
    # the machinery
    "lock_timeout": (503, "0x80044151"),
}
"""Status and Dataverse code of each of our codes; others go by the type of the error."""

BY_TYPE: tuple[tuple[type[IsthmusError], int, str], ...] = (
    (NotFound, 404, "0x80040217"),
    (Conflict, 412, "0x80060882"),
    (Retriable, 503, "0x80044151"),
    (Unavailable, 503, "0x80044150"),
    (Bug, 500, "0x80040216"),
    (Rejected, 400, "0x80040265"),
)
"""Rejected without a code of the table above: business logic said no (Dataverse: a plug-in aborted the request)."""

RETRY_SECONDS = 1


class WireError(msgspec.Struct, frozen=True):
    """An error as it is sent."""

    status: int
    code: str
    message: str

    @property
    def body(self) -> bytes:
        """The JSON that clients read."""
        return msgspec.json.encode({"error": {"code": self.code, "message": self.message}})

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers that belong to the error."""
        return ((b"retry-after", str(RETRY_SECONDS).encode()),) if self.status == 503 else ()


def wire_error(error: IsthmusError | None, correlation_id: str) -> WireError:
    """How an error is answered; None is one we do not know, which the log has under the correlation id."""
    if error is None:
        return WireError(
            500,
            "0x80040216",
            f"An unexpected error occurred; nothing was saved. It is in the log under request {correlation_id}.",
        )
    found = WIRE.get(error.code)
    if found is not None:
        return WireError(found[0], found[1], error.message)
    status, code = next((status, code) for kind, status, code in BY_TYPE if isinstance(error, kind))
    return WireError(status, code, error.message)
