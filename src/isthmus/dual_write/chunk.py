"""A chunk of initial sync towards Dataverse: staged records of some buckets, resolved and written by one statement."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from isthmus.apps.context import Context
from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.behaviour.values import check_value
from isthmus.dataverse.bulk_load import FIRST_PARAMETER, BulkLoad, Left
from isthmus.dataverse.messages.create import required_column_missing
from isthmus.dual_write.exchange import RowId
from isthmus.dual_write.leg import Leg, Projected
from isthmus.dual_write.leg_resolution import resolution
from isthmus.dual_write.leg_sql import array_of
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.payload import column_value
from isthmus.dual_write.refusals import missing_lookup, refusal, without_counterpart, without_key
from isthmus.dual_write.refused_records import Refusal
from isthmus.errors import Bug, Rejected
from isthmus.query.quoting import quote_identifier, quote_literal
from isthmus.store.ddl import qualified

STAGING = "isthmus_staging"
"""Schema of the tables that hold staged records."""

_exactly = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class Outcome(msgspec.Struct, kw_only=True):
    """What a chunk did. `left` are records to be carried singly: live sync was there first, or only Python can write
    them. `waiting` of those written lack lookups that found no row."""

    inserted: int
    updated: int
    unchanged: int
    waiting: int
    refusals: list[Refusal]
    left: list[RowId]


def is_set_based(app: DataverseApp, leg: Leg, legs: Legs) -> bool:
    """Whether the leg's records can be written in chunks.

    They can't where new rows have something to send on to F&O: by another map over the same table, or values that only
    the reverse leg carries.
    """
    if leg.destination != "dataverse":
        return False
    if any(other.name != leg.name or other.one_way for other in legs.of_table("dataverse", leg.table_map.table)):
        return False
    return ChunkLoad(app, leg, "none").is_eligible


class ChunkLoad:
    """Writes chunks of one staging table of a leg, whose columns are `leg.staged`.

    Unless `updates`, rows that the records have already stay as they are.
    """

    def __init__(self, app: DataverseApp, leg: Leg, staging: str, *, updates: bool = True) -> None:
        self.updates = updates
        self._leg = leg
        self._table = app.catalog.table(leg.table_map.table)
        found = resolution(leg.table_map, self._table, list(leg.paths.values()), app.catalog, staged=True)
        self._names = {path.head.name: name for name, path in leg.paths.items() if not path.is_lookup}
        columns = {head: f"s.{quote_identifier(name)}" for head, name in self._names.items()}
        columns.update(found.columns)
        self._load = BulkLoad(app, self._table, columns)
        self._needed = found.key_columns | {self._table.company_column or ""}

        needed = ", ".join(quote_literal(name) for name in sorted(self._needed))
        missing = array_of(found.missing)
        # A subquery that yields a value is looked up by index for each row; `exists` might become a join that is not.
        mark = f"select true from isthmus.gate g where g.table_map = {quote_literal(leg.name)} and g.key = s._key"
        rows = f"{qualified(STAGING, staging)} s"
        first, last = f"${FIRST_PARAMETER}", f"${FIRST_PARAMETER + 1}"
        self._sql = self._load.sql(
            f"select s._id, {found.target} as _target, {missing} as _missing, "
            f"(s._faults <> '{{}}' or s._key is null or {missing} && array[{needed}]) as _unfit, "
            f"{', '.join(f'{sql} as {quote_identifier(name)}' for name, sql in columns.items())} "
            f"from {rows}{found.joins} where s._bucket between {first} and {last} and ({mark}) is not true"
            + ("" if updates else f" and {found.target} is null")
        )
        self._count = (
            f"select (select count(*) from {rows} where s._bucket between $1 and $2) as rows, array("
            f"select s._id from isthmus.gate g join {rows} on s._bucket = isthmus.gate_bucket(g.key) "
            f"and s._key = g.key where g.table_map = {quote_literal(leg.name)} "
            f"and isthmus.gate_bucket(g.key) between $1 and $2) as gated"
        )
        self._read = (
            f"select to_json(s)::text as record from {rows} where s._bucket between $1 and $2 and s._id = any($3)"
        )

    @property
    def is_eligible(self) -> bool:
        """Whether the table takes rows that no plug-in step in Python sees, owned as the company says."""
        return self._load.is_eligible and not self._leg.table_map.owning_team

    async def load(self, context: Context, first: int, last: int, *, names_waiting: bool = True) -> Outcome:
        """Write the records of the buckets from `first` to `last`, both included, whose gate the caller has closed.

        Records that were written without all of their lookups are only counted unless `names_waiting`.

        Raises asyncpg's IntegrityConstraintViolationError when a row that is pointed at went meanwhile, or an update
        runs into a key: the caller rolls back and carries the records singly. Retriable when it loses a race.
        """
        staged = await context.transaction.row(self._count, first, last)
        loaded = await self._load.run(context, self._sql, [first, last])
        refusals: list[Refusal] = []
        left: list[RowId] = list(staged["gated"])
        left += [row.id for row in loaded.left if row.by_pipeline]
        named = {row.id: row for row in loaded.left if not row.by_pipeline and (names_waiting or row.target is None)}
        if named:
            for found in await context.transaction.rows(self._read, first, last, list(named)):
                record = _projected(_exactly(found["record"]))
                refusals.append(self._refusal(record, named[record.id]))
        done = loaded.inserted + loaded.updated + len(left) + sum(not refusal.written for refusal in refusals)
        return Outcome(
            inserted=loaded.inserted,
            updated=loaded.updated,
            unchanged=staged["rows"] - done,
            waiting=sum(row.target is not None for row in loaded.left),
            refusals=refusals,
            left=left,
        )

    def _refusal(self, record: Projected, row: Left) -> Refusal:
        """Why a record was not written, or not with all of its lookups."""
        if record.faults:
            return without_counterpart(self._leg, record)
        if record.key is None:
            return without_key(self._leg, record)
        needed = self._needed.union(row.refused).intersection(row.missing)
        if row.target is None and needed:
            return missing_lookup(self._leg, record, sorted(needed), is_key=True)
        if row.target is not None:
            return missing_lookup(self._leg, record, row.missing, is_key=False)
        name = row.refused[0]
        value = record.values.get(self._names[name]) if name in self._names else None
        error = self._error(name, value)
        return refusal(
            record,
            code=error.code,
            message=error.message,
            columns=row.refused,
            value=None if value is None else str(value),
            missing_parent=None,
            final=True,
        )

    def _error(self, name: str, value: Any) -> Rejected:
        """The refusal of a value in the words of the pipeline."""
        if value is None:
            return required_column_missing(self._table, name)
        column = self._table.column[name]
        try:
            check_value(self._table, column, column_value(column, value))
        except Rejected as error:
            return error
        raise Bug(f"A load refused {value!r} for column '{name}' of '{self._table.logical_name}', which it may hold.")


def _projected(staged: dict[str, Any]) -> Projected:
    """A staged record as the projection of a single one would give it."""
    values = {
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in staged.items()
        if not name.startswith("_")
    }
    return Projected(
        id=staged["_id"],
        company=staged["_company"],
        passes=True,
        key=staged["_key"],
        faults=staged["_faults"],
        values=values,
    )
