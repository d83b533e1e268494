"""The catalog: every definition of an environment, indexed, immutable, with a version."""

from __future__ import annotations

from functools import cached_property

import msgspec

from isthmus.errors import NotFound
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import Entity, FinopsTable, NumberSequence
from isthmus.metadata.relationship import ManyToMany, OneToMany
from isthmus.metadata.solution import Solution
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import TableMap


class Catalog(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All definitions of one environment. A change makes a new catalog with a new `version` (a digest of it).

    `earlier_table_maps` are versions of table maps that were shipped before those of `table_maps`.
    """

    version: str
    solutions: dict[str, Solution]
    tables: dict[str, Table]
    one_to_many: tuple[OneToMany, ...]
    many_to_many: tuple[ManyToMany, ...]
    enums: dict[str, Enum]
    finops_tables: dict[str, FinopsTable]
    entities: dict[str, Entity]
    number_sequences: dict[str, NumberSequence]
    table_maps: dict[str, TableMap]
    earlier_table_maps: tuple[TableMap, ...] = ()

    def table(self, logical_name: str) -> Table:
        """The table with this logical name; NotFound otherwise."""
        try:
            return self.tables[logical_name]
        except KeyError:
            raise NotFound(f"There is no table '{logical_name}'.", code="table_not_found", table=logical_name) from None

    def entity(self, aot_name: str) -> Entity:
        """The data entity with this AOT name; NotFound otherwise."""
        try:
            return self.entities[aot_name]
        except KeyError:
            raise NotFound(f"There is no data entity '{aot_name}'.", code="entity_not_found", entity=aot_name) from None

    @cached_property
    def table_of_set(self) -> dict[str, Table]:
        """Tables by lower-case entity set name."""
        return {table.entity_set_name.lower(): table for table in self.tables.values()}

    @cached_property
    def entity_of_collection(self) -> dict[str, Entity]:
        """Data entities by lower-case public collection name."""
        return {entity.collection.lower(): entity for entity in self.entities.values()}

    @cached_property
    def lookups_of(self) -> dict[str, dict[str, OneToMany]]:
        """Single-valued navigation properties: referencing table -> lower-case property name -> relationship."""
        found: dict[str, dict[str, OneToMany]] = {}
        for relationship in self.one_to_many:
            found.setdefault(relationship.referencing, {})[relationship.lookup_navigation.lower()] = relationship
        return found

    @cached_property
    def collections_of(self) -> dict[str, dict[str, OneToMany]]:
        """Collection-valued navigation properties: referenced table -> lower-case property name -> relationship."""
        found: dict[str, dict[str, OneToMany]] = {}
        for relationship in self.one_to_many:
            found.setdefault(relationship.referenced, {})[relationship.collection_navigation.lower()] = relationship
        return found

    @cached_property
    def maps_of_table(self) -> dict[str, tuple[TableMap, ...]]:
        """Table maps by Dataverse table."""
        found: dict[str, tuple[TableMap, ...]] = {}
        for table_map in self.table_maps.values():
            found[table_map.table] = (*found.get(table_map.table, ()), table_map)
        return found
