"""Records named by an address: `CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from isthmus.errors import NotFound, Rejected
from isthmus.finops.data_sources import COMPANY
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity
from isthmus.query.literals import Literal, member_of, value_of
from isthmus.query.model import Kind, QueryColumn, Relation
from isthmus.query.odata_path import Argument, Segment


class RecordKey(msgspec.Struct, frozen=True):
    """One record of an entity by its key fields; `values` are by lower-case field, in Python's types."""

    entity: Entity
    values: Mapping[str, Any]

    @property
    def company(self) -> str | None:
        """The company the key names, in lower case; None for an entity that has none."""
        return self.values[COMPANY].lower() if self.entity.company_specific else None


def entity_of_segment(catalog: Catalog, segment: Segment) -> Entity:
    """The entity whose set the segment names. NotFound (`segment_not_found`)."""
    entity = catalog.entity_of_collection.get(segment.name.lower())
    if entity is None:
        raise NotFound(
            f"No HTTP resource was found that matches the segment '{segment.name}'.", code="segment_not_found"
        )
    return entity


def record_key(entity: Entity, relation: Relation, segment: Segment, default_company: str) -> RecordKey:
    """The key in the parentheses of a segment: all key fields, in any order; a company left out is the caller's own.

    Rejected (`key_incomplete`, `type_mismatch`).
    """
    given = dict(segment.key)
    names = {key.lower(): key for key in entity.keys}
    rest = [name for name in names if name != COMPANY or not entity.company_specific]
    if "" in given and len(rest) == 1:
        given[rest[0]] = given.pop("")
    values: dict[str, Any] = {}
    for name in names:
        if name in given:
            values[name] = _value(given.pop(name), relation.columns[name])
        elif name == COMPANY and entity.company_specific:
            values[name] = default_company
    if given or len(values) < len(names):
        raise Rejected(
            f"The key of {entity.public_name} has the fields {', '.join(entity.keys)}; give each of them once.",
            code="key_incomplete",
        )
    return RecordKey(entity, values)


def _value(argument: Argument, column: QueryColumn) -> Any:
    if column.kind is Kind.ENUM and argument.literal is None:
        # Microsoft.Dynamics.DataEntities.NoYes'Yes', or the bare symbol
        symbol = argument.text.partition("'")[2].rstrip("'") or argument.text
        return member_of(column.labels, column.enum_type or column.name, f"'{symbol}'")
    if argument.literal is None:
        raise Rejected(
            f"The value {argument.text[:100]} of the key field {column.name} can't be read.", code="type_mismatch"
        )
    literal = argument.literal
    if column.kind is Kind.TEXT and literal.kind != "text":
        literal = Literal("text", f"'{literal.text}'")
    return value_of(literal, column.kind, column).value
