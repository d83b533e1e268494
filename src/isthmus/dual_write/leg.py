"""A leg: one direction of a table map, compiled to SQL once per version of the catalog.

(a) `project` reads records of the source half and yields, per record, one JSON object with the values as the
destination holds them, the company's code, the text of the integration key, whether the record passes the map's
filter, and the values that have no counterpart. (b) `resolve` finds, on the destination half and for many records at
once, the row each belongs to and the ids behind natural keys. What preview shows, live sync writes and initial sync
loads is one and the same (a) and (b).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.principal import Half
from isthmus.metadata.map_path import MapPath
from isthmus.metadata.table_map import TableMap
from isthmus.query.quoting import quote_literal

PARTNER: dict[Half, Half] = {"dataverse": "finops", "finops": "dataverse"}


class Projected(msgspec.Struct, kw_only=True):
    """One record on its way: (a) of a leg.

    `id` is its primary id or RecId at the source, `key` the canonical text of its integration key (None while a part
    has no value), `passes` the map's filter; `faults` name values without counterpart as `FIELD=value`. `values` are by
    lower-case field (towards F&O) or by path (towards Dataverse), JSON as PostgreSQL writes it. `unkeyed` are those of
    them that a lookup leads to whose row has no such key yet, with the id of that row: F&O may still have to give it.
    """

    id: int | UUID
    company: str | None
    passes: bool
    key: str | None
    faults: list[str]
    values: dict[str, Any]
    unkeyed: dict[str, UUID] | None = None


class Resolved(msgspec.Struct, kw_only=True):
    """What (b) of a leg found for the record at position `ordinal`.

    `target` is the id of the row it belongs to, None when there is none yet. `columns` are the ids behind lookups, by
    physical column. `missing` are the columns whose natural key names no row.
    """

    ordinal: int
    target: int | UUID | None
    columns: dict[str, Any]
    missing: list[str]


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a table map, compiled.

    `root` is the table of the source half whose rows are the records; `project` and `keys_of_ids` take their ids as $1;
    `ids_of_key` takes a key as text and reads the whole source, records that the filter leaves out among them;
    `keys_of_values` takes rows that do not exist yet as JSON in $1, each with an `id` that comes back beside its key.
    `resolve` takes JSON of `[{ordinal, target, company, values...}]`; `resolved` names the values it needs.
    `triggers`: table of the source half -> its columns whose change concerns the leg -> destination values. `shown_by`,
    of the same shape: columns that decide which row of another table these values are read from. `filter_columns`
    (table, column) decide whether a record takes part. `one_way` are the destination values that the other leg does not
    read: they are sent even when what they follow from came from the destination. `roots`: for each table that is not
    the root's, SQL from its row ids ($1) to pairs (id, root) with the root rows that show them. `key_names` are the
    columns or fields of a message that the integration key is made of; only maps that are `is_two_way` need record
    locks. `paths` are the values of a leg towards Dataverse by the name they travel under. `stage_all` is the same (a)
    over the whole source, for COPY: a row for every record that takes part, with the columns and types of `staged`.
    `parents` are the values of a leg towards F&O that a lookup leads to and that are the key of another table map's
    rows: the (table, column) pairs that they may come from.
    """

    table_map: TableMap
    source: Half
    root: str
    project: str
    stage_all: str
    staged: dict[str, str]
    keys_of_ids: str
    ids_of_key: str
    keys_of_values: str
    resolve: str
    resolved: tuple[str, ...]
    triggers: dict[str, dict[str, frozenset[str]]]
    shown_by: dict[str, dict[str, frozenset[str]]]
    filter_columns: frozenset[tuple[str, str]]
    one_way: frozenset[str]
    roots: dict[str, str]
    paths: dict[str, MapPath]
    key_names: frozenset[str]
    is_two_way: bool
    parents: dict[str, tuple[tuple[str, str], ...]] = {}

    @property
    def name(self) -> str:
        return self.table_map.name

    @property
    def destination(self) -> Half:
        return PARTNER[self.source]

    def stage(self, companies: Sequence[str] | None) -> str:
        """`stage_all` for the records of these companies; of all of them, and of none, when it is None."""
        if companies is None:
            return self.stage_all
        codes = ", ".join(quote_literal(code.lower()) for code in companies)
        return f"select * from ({self.stage_all}) r where r._company in ({codes})"
