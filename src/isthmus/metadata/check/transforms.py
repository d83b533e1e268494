"""Rules for the transforms of field mappings: which go together, where each may stand, and what expressions say."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.check.mapped import Mapped, MappedRow
from isthmus.metadata.table_map import FieldMapping
from isthmus.metadata.types import FieldType

ExpressionFaults = Callable[[Catalog, Mapped, MappedRow], Iterator[Rejected]]
"""Says what is wrong with the expressions of a row."""


def arrows_tell_transforms(mapped: Mapped) -> Iterator[Fault]:
    """A doubled arrow carries a transform, a single one none; and transforms that contradict each other don't meet."""
    for row in mapped.rows:
        for message in (*_unclear_arrow(row.mapping), *_contradictions(row.mapping)):
            yield mapped.fault("arrow_unclear", message, row, _name(row))


def _unclear_arrow(row: FieldMapping) -> Iterator[str]:
    has = not row.transform.is_plain
    if has != (len(row.arrow) == 2):
        yield f"has the arrow {row.arrow} {'with' if has else 'without'} a transform; correct one."


def _contradictions(row: FieldMapping) -> Iterator[str]:
    transform = row.transform
    expressions = (transform.to_dataverse is not None, transform.to_finops is not None)
    if transform.value_map is not None and transform.default is not None:
        yield "has a value map and a default; keep one of them."
    if transform.value_map == {}:
        yield "has an empty value map; fill it or drop it."
    if sum((transform.value_map is not None, transform.constant is not None, any(expressions))) > 1:
        yield "has several of value map, constant and expression; keep one of them."
    if transform.constant is not None and (transform.default is not None or transform.truncate):
        yield "has a constant, so neither a default nor truncation is ever used; drop them."
    if transform.constant is not None and row.finops is not None and row.dataverse is not None:
        yield "has a constant and names a source, which is never read; leave one of them out."
    if transform.value_map is not None and transform.truncate:
        yield "has a value map, which gives values that fit; drop the truncation."
    if any(expressions) and expressions != (row.to_dataverse, row.to_finops):
        yield "has an expression for one direction and goes another; give one for each direction that it goes."


def truncation_has_a_place(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1030: only text is cut. And no part of a key is: two records would become one."""
    for row in mapped.rows:
        if not row.mapping.transform.truncate:
            continue
        ends_in_text = (row.path is None or not row.mapping.to_dataverse or row.path.leaf.type.is_text) and (
            row.field is None or not row.mapping.to_finops or row.field.type is FieldType.STRING
        )
        if not ends_in_text:
            yield mapped.fault("DIPV1030", "is cut, and its destination holds no text; drop the truncation.", row)
        if row.path is not None and (row.path.is_lookup or _is_key(mapped, row)):
            yield mapped.fault("key_transformed", "names a record; let its value cross whole.", row, _name(row))


def keys_cross_unchanged(mapped: Mapped) -> Iterator[Fault]:
    """A part of the integration key has no expression: the way back could not find the record."""
    for row in mapped.rows:
        transform = row.mapping.transform
        if _is_key(mapped, row) and (transform.to_dataverse is not None or transform.to_finops is not None):
            message = "is part of the integration key; let its value cross as it is, or through a value map."
            yield mapped.fault("key_transformed", message, row, _name(row))


def expressions_are_legal(catalog: Catalog, mapped: Mapped, faults: ExpressionFaults) -> Iterator[Fault]:
    """Each expression can be read, names what is there, and gives what its destination holds."""
    for row in mapped.rows:
        for error in faults(catalog, mapped, row):
            yield mapped.fault(error.code, f"{error.message} Correct the expression.", row, _name(row))


def _is_key(mapped: Mapped, row: MappedRow) -> bool:
    return (row.mapping.dataverse or "").lower() in {text.lower() for text in mapped.table_map.integration_key}


def _name(row: MappedRow) -> str:
    return row.mapping.finops or row.mapping.dataverse or ""
