"""Bodies of writes: one record as JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.entity import Entity

_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body, real numbers exact; an empty body is an empty object. Rejected (`payload_syntax`)."""
    if not body.strip():
        return {}
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"The body is no JSON object: {error}.", code="payload_syntax") from None


def read_record(entity: Entity, body: bytes) -> dict[str, Any]:
    """Values by lower-case field; annotations are left out. Whether the fields exist is checked with the message.

    Rejected (`payload_syntax`, `payload_property`) for what is no record: nested objects can't be written through F&O's
    OData.
    """
    values: dict[str, Any] = {}
    for name, value in decode_object(body).items():
        if "@" in name:
            continue
        if isinstance(value, dict | list):
            raise Rejected(
                f"The property '{name}' of {entity.public_name} holds a nested value. Write each record by itself.",
                code="payload_property",
                field=name,
            )
        if name.lower() not in entity.field:
            raise Rejected(
                f"The property '{name}' does not exist on type '{entity.public_name}'.",
                code="property_not_found",
                field=name,
            )
        values[name.lower()] = value
    return values
