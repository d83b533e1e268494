"""The filters of a table map as SQL conditions over the source half."""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.dataverse.relations import relation as table_relation
from isthmus.finops.relations import relation as entity_relation
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import TableMap
from isthmus.query.model import Condition, QueryColumn
from isthmus.query.odata import parse_filter
from isthmus.query.ranges import parse_range
from isthmus.query.sql import compile_condition


class Filter(msgspec.Struct, frozen=True):
    """SQL of a filter, `true` when there is none, and the physical columns (Dataverse) or fields (F&O) it reads."""

    sql: str
    fields: frozenset[str]


EVERYTHING = Filter("true", frozenset())


def finops_filter(table_map: TableMap, entity: Entity, catalog: Catalog, alias: str) -> Filter:
    """The map's X++ range over its entity. Rejected when it cannot be parsed."""
    if not table_map.finops_filter:
        return EVERYTHING
    relation = entity_relation(catalog, entity)
    return _compile(parse_range(table_map.finops_filter, relation), alias)


def dataverse_filter(table_map: TableMap, table: Table, catalog: Catalog, alias: str) -> Filter:
    """The map's OData filter over its table. Rejected (DIPV1012) when it cannot be parsed."""
    if not table_map.dataverse_filter:
        return EVERYTHING
    relation = table_relation(catalog, table)
    return _compile(parse_filter(table_map.dataverse_filter, relation, {}), alias)


def _compile(condition: Condition, alias: str) -> Filter:
    return Filter(compile_condition(condition, alias, [], inline=True), frozenset(_columns(condition)))


def _columns(part: Any) -> set[str]:
    """Physical names of all columns that occur in a condition."""
    if isinstance(part, QueryColumn):
        return {part.physical}
    if isinstance(part, tuple):
        return set().union(*map(_columns, part))
    if isinstance(part, msgspec.Struct):
        return set().union(*(_columns(getattr(part, name)) for name in part.__struct_fields__))
    return set()
