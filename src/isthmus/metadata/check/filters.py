"""Rules for the filters and examples of table maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.check.mapped import Mapped, path_or_none
from isthmus.metadata.table_map import Example

Parser = Callable[[str], Iterable[str]]
"""Reads a filter and gives the names it uses; Rejected when it can't be read."""


def finops_filter_is_legal(mapped: Mapped, parse: Parser) -> Iterator[Fault]:
    """900 (table map health check): the F&O filter is a query range over fields of the entity."""
    text = mapped.table_map.finops_filter
    if not text:
        return
    try:
        names = parse(text)
    except Rejected as error:
        yield mapped.fault("900", f"{error.message} Correct the filter.", field="finops_filter")
        return
    for name in sorted(set(names)):
        if name.lower() not in mapped.entity.field:
            message = f"uses '{name}', which is no field of {mapped.entity.aot_name}; correct the name."
            yield mapped.fault("900", message, field="finops_filter")


def dataverse_filter_is_legal(mapped: Mapped, parse: Parser) -> Iterator[Fault]:
    """DIPV1012: the Dataverse filter is OData over columns of the table itself."""
    text = mapped.table_map.dataverse_filter
    if not text:
        return
    try:
        names = parse(text)
    except Rejected as error:
        yield mapped.fault("DIPV1012", f"{error.message} Correct the filter.", field="dataverse_filter")
        return
    wire_names = {column.wire_name.lower() for column in mapped.table.columns}
    for name in sorted(set(names)):
        if name.lower() not in wire_names:
            message = f"uses '{name}', which is no column of {mapped.table.logical_name}; correct the name."
            yield mapped.fault("DIPV1012", message, field="dataverse_filter")


def examples_are_well_formed(catalog: Catalog, mapped: Mapped) -> Iterator[Fault]:
    """An example gives both records by names that exist, and says which of them is expected."""
    for number, example in enumerate(mapped.table_map.examples, 1):
        for message in _wrong(catalog, mapped, example):
            yield Fault(
                file=mapped.table_map.file, row=number, code="example_unclear", field="examples", message=message
            )


def _wrong(catalog: Catalog, mapped: Mapped, example: Example) -> Iterator[str]:
    if example.to not in ("dataverse", "finops"):
        yield f"goes to '{example.to}'; it goes to dataverse or finops."
    if not example.finops or not example.dataverse:
        yield "needs both records: the one given and its counterpart."
    for name in example.finops or {}:
        if name.lower() not in mapped.entity.field:
            yield f"names '{name}', which is no field of {mapped.entity.aot_name}."
    for name in example.dataverse or {}:
        if path_or_none(name, mapped.table, catalog) is None:
            yield f"names '{name}', which is no column of {mapped.table.logical_name}, nor a path from it."
