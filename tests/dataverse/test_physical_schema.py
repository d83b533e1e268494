"""The physical schema: what is enforced by the database, and what every environment holds from its first day."""

from __future__ import annotations

import time
from uuid import uuid4

from isthmus.apps.principal import Principal
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.schema import migrate, table_definitions
from isthmus.dataverse.seed import seed
from isthmus.metadata.catalog import Catalog
from isthmus.store.ddl import MAX_IDENTIFIER_BYTES


async def test_a_second_migration_changes_nothing_and_is_quick(app: DataverseApp, catalog: Catalog) -> None:
    async with app.pool.origin.acquire() as connection:
        began = time.perf_counter()
        assert await migrate(connection, catalog) == []
        # The goal is 0.3 s; twice that leaves room for a busy machine.
        assert time.perf_counter() - began < 0.6


def test_every_lookup_with_one_target_is_held_by_a_foreign_key(catalog: Catalog) -> None:
    definitions = {definition.name: definition for definition in table_definitions(catalog)}
    for table in catalog.tables.values():
        held = {key.columns[0]: key.target_table for key in definitions[table.logical_name].foreign_keys}
        for column in table.columns:
            if column.type.is_lookup and column.is_stored and not column.is_polymorphic:
                assert held[column.name] == column.targets[0], (table.logical_name, column.name)


def test_every_alternate_key_has_a_unique_index(catalog: Catalog) -> None:
    definitions = {definition.name: definition for definition in table_definitions(catalog)}
    for table in catalog.tables.values():
        unique = [index for index in definitions[table.logical_name].indexes if index.unique]
        assert [len(index.expressions) for index in unique] == [len(key.columns) for key in table.keys]


def test_names_are_unique_and_short_enough(catalog: Catalog) -> None:
    definitions = table_definitions(catalog)
    indexes = [index.name for definition in definitions for index in definition.indexes]
    assert len(indexes) == len(set(indexes))
    for definition in definitions:
        names = [column.name for column in definition.columns]
        names += [key.name for key in definition.foreign_keys]
        assert len(names) == len(set(names))
        assert all(len(name.encode()) <= MAX_IDENTIFIER_BYTES for name in (*names, *indexes))


async def test_seeding_again_adds_newcomers_only(app: DataverseApp, catalog: Catalog) -> None:
    newcomer = Principal("application", str(uuid4()), "newcomer", frozenset({"dataverse"}), float("inf"))
    async with app.pool.origin.acquire() as connection:
        counts = "select (select count(*) from dataverse.businessunit), (select count(*) from dataverse.systemuser)"
        units, users = await connection.fetchrow(counts)
        for _ in range(2):
            await seed(connection, catalog, [newcomer])
            assert tuple(await connection.fetchrow(counts)) == (units, users + 1)
    user = await app.users.of(app.pool.origin.fetch, newcomer)
    assert user.business_unit
