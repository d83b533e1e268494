"""Records put apart behind live sync's back: a record of a map on both halves, and other values in one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from tests.support.both_halves import BothHalves, Pair
from tests.support.choices import Seeded
from tests.support.generated_records import Maker
from tests.support.oracle import Path, Values
from tests.support.writing import create, delete

from isthmus.apps.principal import Half
from isthmus.dual_write.legs import Legs
from isthmus.errors import NotFound
from isthmus.metadata.types import ColumnType, FieldType


@asynccontextmanager
async def one_record(both: BothHalves, name: str, half: Half | None = None) -> AsyncIterator[Pair]:
    """A record of a map, which live sync has brought over; deleted afterwards."""
    maker = both.maker(name)
    half = half or both.halves_of(maker.table_map)[0]
    company = "usmf" if maker.is_company_specific else None
    _, values = both.generate(maker, half, Seeded(17), company, await both.taken(maker))
    (row_id,) = await create(both.apps[half], both.name_on(half, maker.table_map), values)
    pair = await both.pair(maker.table_map, half, row_id)
    try:
        yield pair
    finally:
        # On the half that other maps carry the record on from: a contact person is a contact and one of its party too.
        half = both.halves_of(maker.table_map)[0]
        found = pair.record if half == "finops" else pair.row
        assert found is not None
        with suppress(NotFound):
            row_id = found["recid" if half == "finops" else maker.table.primary_id]
            await delete(both.apps[half], both.name_on(half, maker.table_map), row_id)


@asynccontextmanager
async def spoiled_row(both: BothHalves, legs: Legs, maker: Maker, pair: Pair) -> AsyncIterator[None]:
    """Another value in each mapped column of the Dataverse row, but for its key and what its filter reads."""
    assert pair.row is not None
    of_map = [legs.by_map[maker.table_map.name, half] for half in both.halves_of(maker.table_map)]
    filtered = {column for leg in of_map for _, column in leg.filter_columns}
    fixed = {path.partition(".")[0].lower() for path in maker.table_map.integration_key} | filtered
    table, key = maker.table, maker.table.primary_id
    wrong: Values = {}
    for row in maker.table_map.rows:
        head = Path(row.dataverse).head if row.dataverse else ""
        if head and head not in fixed and head != table.company_column:
            has_map = row.transform.value_map is not None
            wrong[head] = None if has_map else _other(table.column[head].type, pair.row[head])
    true = {name: pair.row[name] for name in wrong}
    await _write(both.dataverse, f'dataverse."{table.logical_name}"', key, pair.row[key], wrong)
    try:
        yield
    finally:
        await _write(both.dataverse, f'dataverse."{table.logical_name}"', key, pair.row[key], true)


@asynccontextmanager
async def spoiled_record(both: BothHalves, maker: Maker, pair: Pair) -> AsyncIterator[None]:
    """Another value in each mapped field of the F&O record's own table, but for its key and what its filter reads."""
    assert pair.record is not None
    entity, fixed = maker.entity, set(maker.fixed_fields)
    own = {
        field.column: field
        for row in maker.table_map.rows
        if row.finops
        and (field := entity.field[row.finops.lower()]).source == entity.root.name
        and field.column not in fixed
        and row.transform.value_map is None
    }
    key_columns = {entity.field[name].field.lower() for name in fixed if name in entity.field}
    joined = {ours.lower() for source in entity.data_sources for pair_ in source.on for ours in pair_}
    wrong = {
        field.field.lower(): _other(field.type, pair.record[name])
        for name, field in own.items()
        if field.field.lower() not in key_columns | joined and field.type is not FieldType.ENUM
    }
    table = f"finops.{entity.root.table.lower()}"
    recid = pair.record["recid"]
    stood = dict(await both.finops.fetchrow(f"select * from {table} where recid = $1", recid))
    await _write(both.finops, table, "recid", recid, wrong)
    try:
        yield
    finally:
        await _write(both.finops, table, "recid", recid, {name: stood[name] for name in wrong})


def _other(kind: ColumnType | FieldType, value: Any) -> Any:
    """A different value of the same type; none in place of a choice or a reference."""
    if value is None or (isinstance(kind, ColumnType) and (kind.is_lookup or kind.is_choice)):
        return None
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value[:-1] + ("y" if value.endswith("x") else "x")
    if hasattr(value, "year"):
        return value + timedelta(days=1)
    return value // 2 + 1 if isinstance(value, int | float) or hasattr(value, "as_tuple") else value


async def _write(pool: Any, table: str, key: str, id_: Any, values: Values) -> None:
    """Write past all business logic and live sync."""
    if values:
        assignments = ", ".join(f'"{name}" = ${number}' for number, name in enumerate(values, 2))
        await pool.execute(f'update {table} set {assignments} where "{key}" = $1', id_, *values.values())
