"""The filters of all shipped table maps, on both sides, against the relations of their entity and table."""

from __future__ import annotations

import asyncpg
import pytest

from isthmus import solutions
from isthmus.dataverse.relations import relations as table_relations
from isthmus.metadata.entity import Entity
from isthmus.metadata.table_map import TableMap
from isthmus.metadata.types import FieldType
from isthmus.query.model import Kind, QueryColumn, Relation
from isthmus.query.odata import parse_filter, parse_filter_syntax
from isthmus.query.ranges import parse_range, parse_range_syntax
from isthmus.query.sql import compile_condition
from isthmus.query.sql_types import SQL_TYPE

CATALOG = solutions.catalog()
TABLES = table_relations(CATALOG)
FINOPS = [table_map for table_map in CATALOG.table_maps.values() if table_map.finops_filter]
DATAVERSE = [table_map for table_map in CATALOG.table_maps.values() if table_map.dataverse_filter]


KINDS = {
    FieldType.STRING: Kind.TEXT,
    FieldType.INT: Kind.INTEGER,
    FieldType.INT64: Kind.BIG_INT,
    FieldType.REAL: Kind.DECIMAL,
    FieldType.ENUM: Kind.ENUM,
    FieldType.BOOLEAN: Kind.BOOLEAN,
}


def entity_relation(entity: Entity) -> Relation:
    """What can be asked of an entity; fields that no filter uses are left out."""
    columns = {}
    for field in entity.fields:
        if field.type in KINDS:
            members = CATALOG.enums[field.enum].members if field.enum else ()
            labels = {member.value: member.symbol for member in members}
            columns[field.name.lower()] = QueryColumn(
                name=field.name,
                physical=field.column,
                kind=KINDS[field.type],
                labels=labels,
                enum_type=field.enum,
            )
    return Relation(name=entity.public_name, sql_name="x", columns=columns, navigations={}, key=(), no_null=True)


def empty_row(relation: Relation, columns: list[QueryColumn]) -> str:
    """A relation of one row without values, with the columns that a filter reads."""
    nulls = ", ".join(f'null::{SQL_TYPE[column.kind]} as "{column.physical}"' for column in columns)
    return f"(select {nulls}) as r"


async def runs(sample: asyncpg.Connection, where: str, relation: Relation, names: set[str]) -> bool:
    columns = [relation.columns[name.lower()] for name in names]
    return bool(await sample.fetchval(f"select count(*) from {empty_row(relation, columns)} where {where}"))


def test_maps_have_filters() -> None:
    assert len(FINOPS) == 11
    assert len(DATAVERSE) == 11


@pytest.mark.parametrize("table_map", FINOPS, ids=lambda table_map: table_map.name)
async def test_finops_filter(sample: asyncpg.Connection, table_map: TableMap) -> None:
    relation = entity_relation(CATALOG.entities[table_map.entity])
    where = compile_condition(parse_range(table_map.finops_filter, relation), "r", [], inline=True)
    names = parse_range_syntax(table_map.finops_filter)
    await runs(sample, where, relation, names)


async def test_finops_filters_decide_as_written(sample: asyncpg.Connection) -> None:
    """An empty record: `!= "999"` is true of it, `!= ""` is not, and no other shipped range is true of it."""
    passing = set()
    for table_map in FINOPS:
        relation = entity_relation(CATALOG.entities[table_map.entity])
        where = compile_condition(parse_range(table_map.finops_filter, relation), "r", [], inline=True)
        if await runs(sample, where, relation, parse_range_syntax(table_map.finops_filter)):
            passing.add(table_map.finops_filter)
    assert '((CURRENCYCODE != "999"))' in passing
    assert '(SalesOrderNumber != "")' not in passing


@pytest.mark.parametrize("table_map", DATAVERSE, ids=lambda table_map: table_map.name)
async def test_dataverse_filter(sample: asyncpg.Connection, table_map: TableMap) -> None:
    relation = TABLES[table_map.table]
    condition = parse_filter(table_map.dataverse_filter, relation, TABLES)
    where = compile_condition(condition, "r", [], inline=True, relations=TABLES)
    names = parse_filter_syntax(table_map.dataverse_filter)
    columns = {name if name in relation.columns else f"_{name}_value" for name in names}
    assert not await runs(sample, where, relation, columns)
