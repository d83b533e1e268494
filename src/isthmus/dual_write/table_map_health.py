"""The health of a table map as it is built: where its changes are not seen, are hidden, or cost more than need be.

One function per published code. They look at the compiled legs and the definitions, at no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from isthmus.apps.change import Operation
from isthmus.apps.pipeline import Pipeline, Stage
from isthmus.apps.principal import Half
from isthmus.dual_write.calculated import LANGUAGES, fields_read
from isthmus.dual_write.findings import Finding
from isthmus.dual_write.leg import Leg
from isthmus.dual_write.leg_sql import entity_rows
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.schema_drift import Drift
from isthmus.finops.data_sources import COMPANY, RECID, DataSources, Source
from isthmus.metadata.check import table_map_faults
from isthmus.metadata.entity import FinopsTable
from isthmus.metadata.table_map import TableMap

_STAMPS = frozenset({"createddatetime", "createdby", "modifieddatetime", "modifiedby", "recversion"})
"""Columns that the system sets with every save."""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A table map with all that it is built of; `pipeline` is the one of the Dataverse half.

    `drifts`: in what its chosen version no longer fits; it is built without the rows concerned then.
    """

    table_map: TableMap
    sources: DataSources
    legs: Legs
    pipeline: Pipeline
    drifts: Sequence[Drift] = ()

    @property
    def name(self) -> str:
        return self.table_map.name

    def leg(self, source: Half) -> Leg | None:
        """The leg out of a half, None where the map goes the other way only."""
        return self.legs.by_map.get((self.name, source))

    @property
    def fields(self) -> list[str]:
        """Fields that the map reads on the F&O half, in lower case."""
        return [name.lower() for row in self.table_map.rows if row.to_dataverse for name in fields_read(row)]


def check_built(built: Built) -> Iterator[Finding]:
    """All rules on one table map, in the order of their codes."""
    yield from definition_is_valid(built)
    yield from direction_is_both_ways(built)
    if built.leg("finops") is not None:
        for rule in _RULES_OF_CHANGES:
            yield from rule(built)
    yield from rows_outside_ranges_look_absent(built)
    yield from steps_cost_time(built)


def definition_is_valid(built: Built) -> Iterator[Finding]:
    """DIPV codes and 900: what `isthmus check` says of the version that is chosen."""
    if built.drifts:
        yield from schema_has_changed(built.name, built.drifts)
        return
    for fault in table_map_faults(built.legs.catalog, built.table_map, LANGUAGES):
        yield Finding(
            code=fault.code,
            level="error",
            table_map=built.name,
            message=f"{fault.field}: {fault.message}" if fault.field else fault.message,
            advice="Stop the table map, correct its definition, and run it again.",
            details={"row": fault.row, "field": fault.field},
        )


def schema_has_changed(table_map: str, drifts: Iterable[Drift]) -> Iterator[Finding]:
    """The same for a version that fitted when it was chosen: what has changed since."""
    for drift in drifts:
        yield Finding(
            code=drift.code,
            level="error",
            table_map=table_map,
            message=f"Its schema has changed: {drift.what}",
            advice=f"Stop the table map. {drift.advice} Then run it again.",
            details={"row": drift.row, "field": drift.field},
        )


def direction_is_both_ways(built: Built) -> Iterator[Finding]:
    """400, for a map that carries changes one way only."""
    for source, destination in (("finops", "dataverse"), ("dataverse", "finops")):
        if built.leg(source) is None:  # type: ignore[arg-type]  # one of the two halves
            yield Finding(
                code="400",
                level="info",
                table_map=built.name,
                message=f"Nothing is carried from {source} to {destination}: no field mapping goes that way.",
                advice="If it should, give field mappings the direction `=`.",
            )


def records_may_be_hidden(built: Built) -> Iterator[Finding]:
    """1000: what makes a row of the root table a record of the entity."""
    entity, root = built.sources.entity, built.sources.root
    inner = [name for name, source in built.sources.sources.items() if source.parent and not source.definition.outer]
    also = f" that find a row in {_listed(inner)}" if inner else ""
    yield Finding(
        code="1000",
        level="info",
        table_map=built.name,
        message=f"Records of {entity.aot_name} are the rows of {root.table.name}{also}{_with_range(root)}.",
        advice="A row that the statement in the details does not show is no record, so it does not flow.",
        details={"sql": entity_rows(built.sources, built.fields)},
    )


def fields_are_tracked(built: Built) -> Iterator[Finding]:
    """1300: a mapped field that no change of a column tells of."""
    leg = built.leg("finops")
    for name in dict.fromkeys(built.fields):
        binding = built.sources.fields[name]
        table = built.sources.sources[binding.source].table.name
        is_seen = leg is not None and binding.column in leg.triggers.get(table, {})
        if not is_seen or binding.column in _STAMPS:
            yield Finding(
                code="1300",
                level="warning",
                table_map=built.name,
                message=f"Field {binding.field.name} is filled by the system: its changes alone send nothing.",
                advice="Its value crosses with the next change of another mapped field. Map a stored field instead.",
                details={"field": binding.field.name},
            )


def sources_are_mapped(built: Built) -> Iterator[Finding]:
    """1500: data sources of the entity whose changes concern the map no more than if they weren't there."""
    shown = {built.sources.fields[name].source for name in built.fields}
    used = shown.union(*(built.sources.ancestors[name] for name in shown), {built.sources.root.name})
    unused = [name for name in built.sources.sources if name not in used]
    if unused:
        yield Finding(
            code="1500",
            level="info",
            table_map=built.name,
            message=f"No field of the data source(s) {_listed(unused)} is mapped: their changes don't flow.",
            advice="If they should, map a field of each.",
            details={"data_sources": unused},
        )


def ranges_hide_rows(built: Built) -> Iterator[Finding]:
    """1600: rows outside a data source's range don't flow out."""
    for source in built.sources.sources.values():
        if source.fixed:
            yield Finding(
                code="1600",
                level="info",
                table_map=built.name,
                message=f"Data source {source.name} shows rows of {source.table.name}{_with_range(source)} only.",
                advice="Changes of its other rows don't flow by this table map; that is how the entity is made.",
                details={"data_source": source.name, "range": dict(source.fixed)},
            )


def tables_are_shared(built: Built) -> Iterator[Finding]:
    """1700: a table that is tracked for several entities: each save of it is held against all of their maps."""
    leg = built.leg("finops")
    for table in {**leg.triggers, **leg.shown_by} if leg else ():
        others = {other.table_map.entity for other in built.legs.of_table("finops", table)} - {built.table_map.entity}
        if others:
            yield Finding(
                code="1700",
                level="info",
                table_map=built.name,
                message=f"Table {table} is tracked for other entities too: {_listed(sorted(others))}.",
                advice="Each makes a save of the table a little slower. Stop table maps that nobody needs.",
                details={"table": table, "entities": sorted(others)},
            )


def rows_outside_ranges_look_absent(built: Built) -> Iterator[Finding]:
    """1800: for writes that come in, a row outside the root's range is not there, and is created once more."""
    root = built.sources.root
    if built.leg("dataverse") is not None and root.fixed:
        yield Finding(
            code="1800",
            level="info",
            table_map=built.name,
            message=f"To writes that come in, rows of {root.table.name} other than those{_with_range(root)} look "
            "absent: they create them once more, and are refused where a unique index knows them.",
            advice="When a save is refused for a record that is there: look at the fields of the range.",
        )


def tracking_is_cheap(built: Built) -> Iterator[Finding]:
    """1900: data sources whose changes are found by reading a whole table, or not at all because time makes them."""
    shown = {built.sources.fields[name].source for name in built.fields}
    for name in shown.union(*(built.sources.ancestors[name] for name in shown)):
        source = built.sources.sources[name]
        if source.definition.current:
            yield Finding(
                code="1900",
                level="info",
                table_map=built.name,
                message=f"Data source {name} shows the version of {source.table.name} that is valid now. When time "
                "makes another one valid nobody saves anything, so nothing flows.",
                advice="Save the record, or compare the table map and repair it, when a version has become valid.",
                details={"data_source": name},
            )
        parent = built.sources.sources.get(source.parent or "")
        if parent is not None and not any(_is_indexed(parent.table, theirs) for _, theirs in source.on):
            yield Finding(
                code="1900",
                level="warning",
                table_map=built.name,
                message=f"No index of {parent.table.name} leads from a row of {source.table.name} to the records that "
                f"show it (data source {name}): each change of one reads the whole table.",
                advice=f"Add an index on {_listed(theirs for _, theirs in source.on)} to {parent.table.name}.",
                details={"data_source": name},
            )


def steps_cost_time(built: Built) -> Iterator[Finding]:
    """5000: business logic on the Dataverse table runs inside every save that comes in."""
    steps = _steps(built.pipeline, built.table_map.table) if built.leg("finops") is not None else []
    if steps:
        yield Finding(
            code="5000",
            level="info",
            table_map=built.name,
            message=f"Steps on table {built.table_map.table} run inside each save: {_listed(steps)}.",
            advice="They count towards its time limit. Keep them short.",
            details={"steps": steps},
        )


_RULES_OF_CHANGES = (
    records_may_be_hidden,
    fields_are_tracked,
    sources_are_mapped,
    ranges_hide_rows,
    tables_are_shared,
    tracking_is_cheap,
)


def _steps(pipeline: Pipeline, table: str) -> list[str]:
    """Steps on this very table, by the name of their function; live sync's own are on every table."""
    found: dict[str, None] = {}
    for stage in Stage:
        for operation in Operation:
            for step in pipeline.steps(stage, operation, table):
                if step.table == table:
                    found[f"{step.handler.__module__}.{step.handler.__qualname__}"] = None
    return sorted(found)


def _is_indexed(table: FinopsTable, column: str) -> bool:
    """Whether an index leads to the rows of a table by this column; the company stands before all others."""
    indexes = (*table.unique_indexes, *table.indexes)
    return column == RECID or any(
        next((name.lower() for name in index if name.lower() != COMPANY), None) == column for index in indexes
    )


def _with_range(source: Source) -> str:
    values: Mapping[str, str | int] = source.fixed
    return f" with {' and '.join(f'{name} = {value}' for name, value in values.items())}" if values else ""


def _listed(names: Iterator[str] | list[str]) -> str:
    return ", ".join(names)
