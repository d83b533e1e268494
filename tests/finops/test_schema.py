"""The database that the definitions make."""

from __future__ import annotations

import asyncpg
import msgspec
import pytest

from isthmus.finops.app import FinopsApp
from isthmus.finops.data_sources import Compiled
from isthmus.finops.schema import migrate, view_name, views
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import DataSource, Entity, EntityField, FinopsTable, TableField
from isthmus.metadata.types import FieldType


async def test_every_entity_has_a_view_that_can_be_read(app: FinopsApp, catalog: Catalog) -> None:
    for entity in catalog.entities.values():
        record = await app.pool.origin.fetch(f'select * from finops."{view_name(catalog, entity)}" limit 1')
        assert isinstance(record, list)


async def test_a_second_migration_has_nothing_to_do(database: str, catalog: Catalog) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await migrate(connection, catalog) == []
    finally:
        await connection.close()


def test_a_view_never_takes_the_name_of_a_table(catalog: Catalog) -> None:
    names = [view.name for view in views(catalog)]
    tables = {table.relation for table in catalog.finops_tables.values()}
    assert len(set(names)) == len(names)
    assert not tables.intersection(names)
    entity = msgspec.structs.replace(catalog.entities["CustCustomerGroupEntity"], aot_name="CustGroup")
    assert view_name(catalog, entity) == "custgroup_entity"


async def test_no_column_of_a_table_can_be_null(app: FinopsApp) -> None:
    sql = """select c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
             join pg_namespace n on n.oid = c.relnamespace
             where n.nspname = 'finops' and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
             and not a.attnotnull"""
    assert await app.pool.origin.fetch(sql) == []


async def test_a_read_joins_only_the_sources_it_asks_for(app: FinopsApp) -> None:
    sql = "explain select customeraccount, creditlimit, recversion from finops.custcustomerv3entity"
    plan = "\n".join(record[0] for record in await app.pool.origin.fetch(sql))
    assert "custtable" in plan and "dirpartytable" in plan
    assert "logisticspostaladdress" not in plan


def test_text_constants_of_joins_are_quoted() -> None:
    text = TableField(name="Kind", type=FieldType.STRING)
    table = FinopsTable(name="T", company_specific=False, fields=(text,))
    entity = Entity(
        aot_name="E",
        public_name="E",
        collection="Es",
        company_specific=False,
        keys=("Kind",),
        data_sources=(DataSource(name="T", table="T", fixed={"Kind": "o'clock"}),),
        fields=(EntityField(name="Kind", type=FieldType.STRING, source="T", field="Kind"),),
    )
    catalog = Catalog(
        version="1",
        solutions={},
        tables={},
        one_to_many=(),
        many_to_many=(),
        enums={},
        finops_tables={"T": table},
        entities={"E": entity},
        number_sequences={},
        table_maps={},
    )
    (view,) = views(catalog)
    assert "lower('o''clock')" in view.sql


@pytest.mark.parametrize(
    ("aot_name", "versioned"),
    [
        ("CustCustomerV3Entity", ("CustTable", "Party")),
        ("CustCustomerGroupEntity", ("CustGroup",)),
        ("DirPartyPostalAddressLocationCDSEntity", ("DirPartyLocation", "Party", "Location")),
    ],
)
def test_the_version_of_a_record_comes_from_rows_it_always_has(
    catalog: Catalog, aot_name: str, versioned: tuple[str, ...]
) -> None:
    assert Compiled(catalog)[aot_name].versioned == versioned
