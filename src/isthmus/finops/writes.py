"""What a message writes, row by row of the physical tables, and the statements that do it: one insert and one update
per table, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import msgspec

from isthmus.apps.change import Change, Operation
from isthmus.apps.context import Context
from isthmus.errors import Conflict
from isthmus.finops.data_sources import (
    COMPANY,
    RECID,
    SYSTEM_COLUMNS,
    column_type,
    given_rows,
    postgres_type,
    table_sql_name,
)
from isthmus.finops.values import NO_VALUE, encode
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import FinopsTable
from isthmus.metadata.types import FIELD_NO_VALUE
from isthmus.query.quoting import quote_identifier
from isthmus.store.ddl import identifier
from isthmus.store.transaction import Transaction


class RowWrite(msgspec.Struct, kw_only=True):
    """One row to be inserted or updated.

    `values` are the physical columns to be written, `before` what is known of the row as it stands, `asked` what the
    caller wanted in it. `sequences` name number sequences for columns that are still empty.
    """

    table: FinopsTable
    recid: int
    company: str
    is_new: bool
    values: dict[str, Any] = {}
    before: dict[str, Any] = {}
    asked: dict[str, Any] = {}
    sequences: dict[str, str] = {}

    def put(self, column: str, value: Any) -> None:
        """Write a value. Where two fields of an entity are one column, the one that changes it wins."""
        if self.is_new:
            if column not in self.values or value != NO_VALUE[column_type(self.table, column)]:
                self.values[column] = value
        elif value != self.before.get(column):
            self.values[column] = value

    def value(self, column: str) -> Any:
        """What the column will hold; "no value" when nothing is known."""
        if column == RECID:
            return self.recid
        if column == COMPANY:
            return self.company
        if column in self.values:
            return self.values[column]
        return self.before.get(column, NO_VALUE[column_type(self.table, column)])

    @property
    def kept(self) -> frozenset[str]:
        """Columns that the caller wanted to change and that business logic left as they were."""
        return frozenset(
            name
            for name, value in self.asked.items()
            if name not in self.values and name in self.before and self.before[name] != value
        )


class Writes:
    """All rows that one message writes, each once, by table and RecId."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.rows: dict[tuple[str, int], RowWrite] = {}
        self._touched: dict[str, set[int]] = {}

    def insert(self, table: FinopsTable, recid: int, company: str) -> RowWrite:
        """Plan a new row."""
        write = RowWrite(table=table, recid=recid, company=company if table.company_specific else "", is_new=True)
        self.rows[table.name, recid] = write
        return write

    def update(self, table: FinopsTable, recid: int, company: str = "") -> RowWrite:
        """Plan an update of a row, or take the plan that is there."""
        write = self.rows.get((table.name, recid))
        if write is None:
            write = self.rows[table.name, recid] = RowWrite(table=table, recid=recid, company=company, is_new=False)
        return write

    def of(self, table: str) -> list[RowWrite]:
        """The planned writes of one table."""
        return [write for write in self.rows.values() if write.table.name == table]

    def touch(self, table: FinopsTable, recids: Iterable[int]) -> None:
        """Give rows a new version because something that belongs to them changes."""
        self._touched.setdefault(table.name, set()).update(recids)

    async def load(self, transaction: Transaction, rows: Iterable[RowWrite], columns: Sequence[str]) -> None:
        """Read and lock `columns` of rows that are updated, where they are not known yet."""
        unknown = [row for row in rows if not row.is_new and any(column not in row.before for column in columns)]
        if not unknown:
            return
        table = unknown[0].table
        selected = ", ".join(map(quote_identifier, columns))
        sql = (
            f"select recid, {selected} from {table_sql_name(table)} "  # noqa: S608  (definitions)
            "where recid = any($1::bigint[]) order by recid for update"
        )
        found = {row["recid"]: row for row in await transaction.rows(sql, [row.recid for row in unknown])}
        for row in unknown:
            if row.recid in found:
                row.before.update((column, found[row.recid][column]) for column in columns)

    async def run(self, context: Context, through: str | None) -> None:
        """Insert and update; append a change for each row that is new or really changed.

        Raises Conflict (`duplicate_key`) naming table and key.
        """
        await self._run_touched(context)
        by_table: dict[str, list[RowWrite]] = {}
        for write in self.rows.values():
            if write.is_new or write.values or (through and write.kept):
                by_table.setdefault(write.table.name, []).append(write)
        for rows in by_table.values():
            table = rows[0].table
            try:
                await _insert(context, table, [row for row in rows if row.is_new])
                await _update(context, table, [row for row in rows if not row.is_new and row.values])
            except asyncpg.UniqueViolationError as error:
                raise _duplicate_key(table, error) from error
            context.changes += [_change(row, through) for row in rows]

    async def _run_touched(self, context: Context) -> None:
        for name, recids in self._touched.items():
            written = {recid for (table, recid), write in self.rows.items() if table == name and write.values}
            if waiting := sorted(recids - written):
                table = table_sql_name(self.catalog.finops_tables[name])
                sql = f"update {table} set recversion = nextval('isthmus.recversion') where recid = any($1::bigint[])"  # noqa: S608
                await context.transaction.run(sql, waiting)


async def delete(context: Context, table: FinopsTable, recids: Sequence[int], through: str | None) -> None:
    """Delete rows; append a change for each that was there, with all of its values as `before`."""
    sql = f"delete from {table_sql_name(table)} where recid = any($1::bigint[]) returning *"  # noqa: S608
    for row in await context.transaction.rows(sql, list(recids)):
        before = dict(row)
        columns = frozenset(name for name in before if name not in SYSTEM_COLUMNS)
        context.changes.append(
            Change(
                table=table.name,
                operation=Operation.DELETE,
                id=before[RECID],
                columns=columns,
                given=frozenset(),
                through=through,
                before=before,
            )
        )


async def _insert(context: Context, table: FinopsTable, rows: list[RowWrite]) -> None:
    if not rows:
        return
    columns = sorted({column for row in rows for column in row.values})
    own = [RECID, *([COMPANY] if table.company_specific else [])]
    definition = ", ".join(f"{quote_identifier(name)} {postgres_type(table, name)}" for name in (*own, *columns))
    values = ", ".join(
        [*own, *(f"coalesce({quote_identifier(name)}, {FIELD_NO_VALUE[column_type(table, name)]})" for name in columns)]
    )
    targets = ", ".join([*own, *map(quote_identifier, columns), "createdby", "modifiedby"])
    sql = (
        f"insert into {table_sql_name(table)} ({targets}) select {values}, $2, $2 "  # noqa: S608  (definitions)
        f"from json_to_recordset($1::json) as s({definition})"
    )
    records = [{RECID: row.recid, COMPANY: row.company, **row.values} for row in rows]
    await context.transaction.run(sql, encode(records), context.principal.name)


async def _update(context: Context, table: FinopsTable, rows: list[RowWrite]) -> None:
    if not rows:
        return
    columns = sorted({column for row in rows for column in row.values})
    # A row that does not change one of the columns leaves it out; F&O has no null that this could be mistaken for.
    assigned = ", ".join(
        f"{quote_identifier(name)} = coalesce(s.{quote_identifier(name)}, t.{quote_identifier(name)})"
        for name in columns
    )
    given = given_rows("s", {name: postgres_type(table, name) for name in (RECID, *columns)}, len(rows))
    sql = (
        f"update {table_sql_name(table)} t set {assigned}, recversion = nextval('isthmus.recversion'), "  # noqa: S608
        f"modifieddatetime = now(), modifiedby = $2 from {given} "
        "where t.recid = s.recid"
    )
    await context.transaction.run(
        sql, encode([{RECID: row.recid, **row.values} for row in rows]), context.principal.name
    )


def _change(row: RowWrite, through: str | None) -> Change:
    written = row.values
    if row.is_new:
        written = {name: value for name, value in written.items() if value != NO_VALUE[column_type(row.table, name)]}
    return Change(
        table=row.table.name,
        operation=Operation.CREATE if row.is_new else Operation.UPDATE,
        id=row.recid,
        columns=frozenset(written) | row.kept if through else frozenset(written),
        given=frozenset(name for name, value in written.items() if name in row.asked and row.asked[name] == value),
        through=through,
        before=None if row.is_new else {name: row.before.get(name) for name in written},
        after=dict(written),
    )


def _duplicate_key(table: FinopsTable, error: asyncpg.UniqueViolationError) -> Conflict:
    """What a unique violation says to a caller."""
    fields = next(
        (
            names
            for names in table.unique_indexes
            if identifier(table.relation, *(name.lower() for name in names), "key") == error.constraint_name
        ),
        (),
    )
    names = ("dataAreaId", *fields) if table.company_specific else fields
    values = (error.detail or "").partition("=(")[2].rpartition(")")[0]
    parts = values.split(", ")
    # A value that holds a comma can't be told from two.
    shown = (
        ", ".join(f"{name}: {part}" for name, part in zip(names, parts, strict=True))
        if len(names) == len(parts)
        else f"{', '.join(names)}: {values}"
    )
    return Conflict(
        f"Cannot create a record in {table.label or table.name} ({table.name}). {shown}. The record already exists.",
        code="duplicate_key",
        table=table.name,
        key=", ".join(fields),
        value=values,
    )
