"""Rules for the rows of table maps: fields and paths exist, directions are legal, destinations are written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.check.mapped import Mapped, MappedRow, path_faults


def table_has_versions(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1019: changes are told by versionnumber; virtual and elastic tables have none."""
    if "versionnumber" not in mapped.table.column:
        yield mapped.fault("DIPV1019", "has no versionnumber and cannot be mapped.", field=mapped.table.logical_name)


def companies_agree(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1002: both sides are company-specific, or neither is."""
    if mapped.entity.company_specific == (mapped.table.company_column is not None):
        return
    kinds = ("company-specific", "global") if mapped.entity.company_specific else ("global", "company-specific")
    message = f"is {kinds[0]} and {mapped.table.logical_name} is {kinds[1]}; map like to like."
    yield mapped.fault("DIPV1002", message, field=mapped.entity.aot_name)


def rows_have_both_ends(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1021, DIPV1024: a row has a destination, and a source or a constant in its place."""
    for row in mapped.rows:
        mapping = row.mapping
        fixed = mapping.transform.fixed is not None
        if mapping.finops is None and mapping.dataverse is None:
            yield mapped.fault("DIPV1024", "names neither a field nor a column; name both, or remove the row.", row)
        elif mapping.finops is None and (
            mapping.to_finops or not (fixed or mapping.transform.to_dataverse is not None)
        ):
            code = "DIPV1024" if mapping.to_finops else "DIPV1021"
            message = "has no F&O field; name one, or map one way to Dataverse with a constant."
            yield mapped.fault(code, message, row, mapping.dataverse or "")
        elif mapping.dataverse is None and (
            mapping.to_dataverse or not (fixed or mapping.transform.to_finops is not None)
        ):
            code = "DIPV1024" if mapping.to_dataverse else "DIPV1021"
            message = "has no Dataverse column; name one, or map one way to F&O with a constant."
            yield mapped.fault(code, message, row, mapping.finops or "")


def fields_exist(catalog: Catalog, mapped: Mapped) -> Iterator[Fault]:
    """DIPV1022, DIPV1025: fields and every segment of a path exist. The leg is written from F&O to Dataverse, so on a
    row that goes both ways the field is the source and the column the destination."""
    for row in mapped.rows:
        mapping = row.mapping
        if mapping.finops and row.field is None:
            code = "DIPV1022" if mapping.to_dataverse else "DIPV1025"
            message = f"is no field of {mapped.entity.aot_name}; correct the name."
            yield mapped.fault(code, message, row, mapping.finops)
        if mapping.dataverse and row.path is None:
            code = "DIPV1025" if mapping.to_dataverse else "DIPV1022"
            for message in path_faults(mapping.dataverse, mapped.table, catalog):
                yield mapped.fault(code, f"{message} Correct the path.", row, mapping.dataverse)


def destinations_are_written_once(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1026, DIPV1023: a column is the destination of one row. A field may be so of several only when all of them
    go both ways; then the first that has a value wins on the way back."""
    columns = Counter((row.mapping.dataverse or "").lower() for row in mapped.to_dataverse)
    fields: dict[str, list[MappedRow]] = {}
    for row in mapped.to_finops:
        fields.setdefault((row.mapping.finops or "").lower(), []).append(row)
    for row in mapped.to_dataverse:
        path = (row.mapping.dataverse or "").lower()
        if columns[path] > 1:
            yield mapped.fault("DIPV1026", "is written by two rows; keep one.", row, row.mapping.dataverse or "")
    for rows in fields.values():
        if len(rows) > 1 and not all(row.mapping.to_dataverse for row in rows):
            for row in rows:
                yield mapped.fault("DIPV1023", "is written by two rows; keep one.", row, row.mapping.finops or "")


def destinations_can_be_written(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1011: no row writes a field or column that its half alone fills."""
    for row in mapped.to_dataverse:
        if row.path is not None and row.path.head.read_only:
            message = "is filled by Dataverse alone; map it one way to F&O."
            yield mapped.fault("DIPV1011", message, row, row.path.head.name)
    for row in mapped.to_finops:
        if row.field is not None and row.field.read_only:
            message = "is filled by F&O alone; map it one way to Dataverse."
            yield mapped.fault("DIPV1011", message, row, row.field.name)
    if mapped.to_finops and mapped.entity.read_only:
        yield mapped.fault("DIPV1011", "only reads; map it one way to Dataverse.", field=mapped.entity.aot_name)


def mandatory_destinations_are_mapped(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1010, DIPV1031: a column that the system requires, and a mandatory field, gets a value from some row."""
    if mapped.to_dataverse:
        fed = {row.path.head.name for row in mapped.to_dataverse if row.path is not None}
        for column in mapped.table.columns:
            required = column.required_level == "SystemRequired" and column.default is None
            owned = column.name in (mapped.table.primary_id, "ownerid")
            if required and not owned and column.name not in fed:
                message = "is required by Dataverse and no row brings it; map it."
                yield mapped.fault("DIPV1010", message, field=column.name)
    if mapped.to_finops:
        brought = {(row.mapping.finops or "").lower() for row in mapped.to_finops}
        for field in mapped.entity.fields:
            if field.mandatory and field.name.lower() not in brought:
                message = "is mandatory in F&O and has neither source nor default; map it or give it a default."
                yield mapped.fault("DIPV1031", message, field=field.name)
