"""Rules for keys of table maps: what identifies a record on each half is mapped whole, and lookups lead to one row."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.check.mapped import Mapped, MappedRow, path_faults, path_or_none
from isthmus.metadata.map_path import MapPath
from isthmus.metadata.table import Table


def integration_key_is_a_key(catalog: Catalog, mapped: Mapped) -> Iterator[Fault]:
    """DIPV1003: the integration key exists and its first segments are the columns of an alternate key of the table."""
    paths = mapped.table_map.integration_key
    if not paths:
        yield mapped.fault(
            "DIPV1003", "has no integration key; name the columns that identify a record on both halves."
        )
        return
    heads = set()
    for text in paths:
        for message in path_faults(text, mapped.table, catalog):
            yield mapped.fault("DIPV1003", f"{message} Correct the integration key.", field=text)
        heads.add(text.lower().split(".")[0])
    if heads not in [set(key.columns) for key in mapped.table.keys]:
        message = f"is no alternate key of {mapped.table.logical_name}; add the key, or take one of its keys."
        yield mapped.fault("DIPV1003", message, field=", ".join(paths))


def integration_key_is_mapped(catalog: Catalog, mapped: Mapped) -> Iterator[Fault]:
    """DIPV1014, DIPV1015: each part of the integration key is fed by a row, or is the company's code, which follows
    from the record's company."""
    if not mapped.to_dataverse:
        return
    fed = {(row.mapping.dataverse or "").lower() for row in mapped.to_dataverse}
    for text in mapped.table_map.integration_key:
        path = path_or_none(text, mapped.table, catalog)
        if path is None or text.lower() in fed or (path.is_company_code and _company_follows(mapped, path)):
            continue
        code = "DIPV1015" if path.is_lookup else "DIPV1014"
        yield mapped.fault(code, "is part of the integration key and no row brings it; map it.", field=text)


def _company_follows(mapped: Mapped, path: MapPath) -> bool:
    """The company of the row, or of a company-specific row that it points at within its company."""
    if path.head.name == mapped.table.company_column:
        return True
    lookup = path.hops[-1][0].name
    return mapped.table.company_column is not None and any(
        target.company_column == lookup for _, target in path.hops[:-1]
    )


def key_goes_both_ways(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1004: when a row goes both ways, the rows of the integration key do."""
    if not any(row.mapping.to_dataverse and row.mapping.to_finops for row in mapped.rows):
        return
    key = {text.lower() for text in mapped.table_map.integration_key}
    for row in mapped.rows:
        if (row.mapping.dataverse or "").lower() in key and not row.mapping.to_finops:
            message = "is part of the integration key and goes one way, while others go both; let it go both ways."
            yield mapped.fault("DIPV1004", message, row, row.mapping.dataverse or "")


def entity_key_is_mapped(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1003: what writes F&O brings the entity's key, except what its company or a number sequence gives."""
    if not mapped.to_finops:
        return
    brought = {(row.mapping.finops or "").lower() for row in mapped.rows if row.mapping.finops}
    for name in mapped.entity.keys:
        field = mapped.entity.field.get(name.lower())
        given = name.lower() == "dataareaid" or field is None or field.number_sequence is not None or field.read_only
        if not given and name.lower() not in brought:
            message = f"is in the key of {mapped.entity.aot_name} and no row brings it; map it."
            yield mapped.fault("DIPV1003", message, field=name)


def lookups_lead_to_one_row(mapped: Mapped) -> Iterator[Fault]:
    """DIPV1015, DIPV1027, DIPV1028: the rows that lead through one lookup bring a whole alternate key of its table."""
    groups: dict[str, list[MappedRow]] = {}
    for row in mapped.rows:
        if row.path is not None and row.path.is_lookup:
            groups.setdefault(row.path.head.name, []).append(row)
    for head, rows in groups.items():
        for target, tails in _targets(rows):
            if _covers(target, tails):
                continue
            first = rows[0]
            if not target.keys:
                code = "DIPV1027" if first.mapping.to_dataverse else "DIPV1028"
                message = f"looks up {target.logical_name}, which has no alternate key; add one."
            else:
                code = "DIPV1015"
                wanted = " or ".join(", ".join(key.columns) for key in target.keys)
                message = f"looks up {target.logical_name} by {', '.join(sorted(tails))}; its key is {wanted}."
            yield mapped.fault(code, message, first, head)


def _targets(rows: list[MappedRow]) -> Iterator[tuple[Table, set[str]]]:
    """Tables that the rows look up, each with what they bring: columns, and lookups that lead on."""
    found: dict[str, tuple[Table, set[str]]] = {}
    for row in rows:
        path = row.path
        assert path is not None, "only rows with a path are grouped"
        for table, column in path.alternatives:
            found.setdefault(table.logical_name, (table, set()))[1].add(column.name)
        steps = [*(lookup.name for lookup, _ in path.hops[1:]), path.leaf.name]
        for depth, (_, table) in enumerate(path.hops):
            place = ".".join([table.logical_name, *steps[:depth]])
            found.setdefault(place, (table, set()))[1].add(steps[depth])
    yield from found.values()


def _covers(table: Table, brought: set[str]) -> bool:
    """Whether `brought` and the company, which follows, hold a whole key of the table."""
    return any(set(key.columns) <= brought | {table.company_column} for key in table.keys)
