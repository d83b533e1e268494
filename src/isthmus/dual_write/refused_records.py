"""Records that an initial sync could not write, or not with all of their values, each with its reason.

They stand on the half that refused them and stay until they are carried after all or somebody gives them up. While an
initial sync goes on some are `pending`: it tries them again by itself once other records are there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from isthmus.apps.principal import Half
from isthmus.dual_write.shown_key import IS_KEY, shown_key
from isthmus.errors import NotFound
from isthmus.store.connections import Connections
from isthmus.store.pool import fetch
from isthmus.store.transaction import Transaction


class Refusal(msgspec.Struct, kw_only=True):
    """Why a record was not written, or, when `written`, not with the values of `columns`.

    `columns` and `value` are what the refusal is about, as far as it says; `missing_parent` is the record that a value
    names and that is not there. `record` are the values as they were projected. `final`: trying again is no use before
    the record or the table map is changed.
    """

    record_id: str
    record_key: str | None
    columns: list[str]
    value: str | None
    missing_parent: str | None
    code: str
    message: str
    written: bool = False
    final: bool = False
    record: dict[str, Any] | None = None


class RefusedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal as it is kept. `id` counts within `half`, the one that refused; `source` is where the record stands.

    `company` is empty for tables that have none.
    """

    half: Half
    id: int
    table_map: str
    source: Half
    record_id: str
    request: UUID
    company: str
    record_key: str | None
    columns: list[str]
    value: str | None
    missing_parent: str | None
    code: str
    message: str
    written: bool
    pending: bool
    attempts: int
    record: dict[str, Any] | None
    refused_at: datetime


_COLUMNS = """id, table_map, source, record_id, request, company, record_key, columns, value, missing_parent, code,
    message, written, pending, attempts, record::text as record, refused_at"""
_KEEP = """
insert into isthmus.refused_record (table_map, source, request, record_id, company, record_key, columns, value,
    missing_parent, code, message, written, pending, record)
select $1, $2, $3, g.record_id, $5, g.record_key, array(select json_array_elements_text(g.columns)), g.value,
    g.missing_parent, g.code, g.message, g.written, not g.final, g.record
from json_to_recordset($4::json) as g(record_id text, record_key text, columns json, value text,
    missing_parent text, code text, message text, written boolean, final boolean, record jsonb)
on conflict (table_map, source, record_id) do update set request = excluded.request, company = excluded.company,
    record_key = excluded.record_key, columns = excluded.columns, value = excluded.value,
    missing_parent = excluded.missing_parent, code = excluded.code, message = excluded.message,
    written = excluded.written, pending = excluded.pending, record = excluded.record,
    attempts = refused_record.attempts + 1, refused_at = clock_timestamp()
"""
_FORGET = "delete from isthmus.refused_record where table_map = $1 and source = $2 and record_id = any($3::text[])"
_FORGET_ALL = """
delete from isthmus.refused_record where table_map = $1 and source = $2 and company = $3
"""
_PENDING = """
select record_id, columns from isthmus.refused_record
where table_map = $1 and source = $2 and company = $3 and pending and record_id > $4
  and ($6::text is null or code = $6) order by record_id limit $5
"""
_COUNT_PART = """
select count(*) as records, count(*) filter (where pending) as pending,
    coalesce(sum(cardinality(columns)) filter (where pending), 0) as columns
from isthmus.refused_record where table_map = $1 and source = $2 and company = $3
"""
_SETTLE = "update isthmus.refused_record set pending = false where pending and table_map = any($1::text[])"
_REOPEN = """
update isthmus.refused_record set pending = true, request = $3
where table_map = $1 and source = $2 and ($4::bigint[] is null or id = any($4))
returning company
"""
_LIST = f"""
select {_COLUMNS} from isthmus.refused_record
where ($1::text is null or table_map = $1) and ($2::text is null or code = $2)
  and ($3::text is null or {IS_KEY.format("$3")})
  and ($4::uuid is null or request = $4) and ($5::text is null or company = $5) and id > $6 order by id limit $7
"""  # noqa: S608  (constants)
_COUNT = """
select table_map, count(*) as records from isthmus.refused_record
where ($1::text[] is null or table_map = any($1)) group by table_map
"""
_DISMISS = """
delete from isthmus.refused_record where id = any($1::bigint[])
    and (select count(*) from isthmus.refused_record r where r.id = any($1)) = cardinality($1) returning id
"""

LEFT = "not_carried_yet"
"""Code of records that could not be written together with others and are carried next."""

PAGE = 1000
"""Rows that are read at a time."""

_CSV_COLUMNS = (
    "table_map", "half", "source", "company", "record_key", "record_id", "columns", "value", "missing_parent", "code",
    "message", "written", "attempts", "refused_at",
)  # fmt: skip


async def keep(
    destination: Transaction, table_map: str, source: Half, company: str, request: UUID, refusals: Collection[Refusal]
) -> None:
    """Keep refusals, each in place of an earlier one of the same record."""
    if refusals:
        await destination.run(_KEEP, table_map, source, request, msgspec.json.encode(refusals).decode(), company)


def left_over(record_id: str) -> Refusal:
    """A record that is carried next."""
    return Refusal(
        record_id=record_id,
        record_key=None,
        columns=[],
        value=None,
        missing_parent=None,
        code=LEFT,
        message="The record is carried by itself, after the others.",
    )


async def forget(destination: Transaction, table_map: str, source: Half, record_ids: Collection[str]) -> None:
    """Remove the refusals of records that are carried now, or are not there any more."""
    await destination.run(_FORGET, table_map, source, list(record_ids))


async def forget_all(destination: Transaction, table_map: str, source: Half, company: str) -> None:
    """Remove what an earlier initial sync left of a part that begins anew."""
    await destination.run(_FORGET_ALL, table_map, source, company)


async def pending(
    pool: Connections, table_map: str, source: Half, company: str, *, after: str, limit: int, code: str | None = None
) -> dict[str, frozenset[str]]:
    """Records to be tried again, beyond the id `after`: the columns that each still lacks, as far as they are known.

    `code`: only those kept for this reason.
    """
    rows = await fetch(pool, _PENDING, table_map, source, company, after, limit, code)
    return {row["record_id"]: frozenset(row["columns"]) for row in rows}


class PartCount(msgspec.Struct, frozen=True):
    """Refused records of a part; `pending` of them are to be tried again, for `columns` columns in all."""

    records: int
    pending: int
    columns: int


async def count_part(pool: Connections, table_map: str, source: Half, company: str) -> PartCount:
    """How many records of a part stand refused."""
    row = (await fetch(pool, _COUNT_PART, table_map, source, company))[0]
    return PartCount(row["records"], row["pending"], row["columns"])


async def settle(pool: Connections, table_maps: Collection[str]) -> None:
    """End of an initial sync: nothing is tried again by itself any more."""
    await fetch(pool, _SETTLE, list(table_maps))


async def reopen(
    pool: Connections, table_map: str, source: Half, request: UUID, ids: Collection[int] | None = None
) -> list[str]:
    """Let a request try refused records again: these, or all of the leg. The companies that they are of."""
    rows = await fetch(pool, _REOPEN, table_map, source, request, None if ids is None else list(ids))
    return sorted({row["company"] for row in rows})


class RefusedRecords:
    """The refused records of both halves as people see them."""

    def __init__(self, pools: Mapping[Half, Connections]) -> None:
        self._pools = pools

    async def list(
        self,
        half: Half,
        *,
        table_map: str | None = None,
        code: str | None = None,
        key: str | None = None,
        company: str | None = None,
        request: UUID | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[RefusedRecord]:
        """Records that this half refused, in the order of their ids, beyond the id `after`; `key` is their integration
        key as shown, in any letter case."""
        count = max(1, min(limit, PAGE))
        rows = await fetch(self._pools[half], _LIST, table_map, code, shown_key(key), request, company, after, count)
        return [_record_of(half, row) for row in rows]

    async def counts(self, table_maps: Collection[str] | None = None, *, away: Collection[Half] = ()) -> dict[str, int]:
        """Refused records by table map, of both halves but those `away`; maps without any are left out."""
        names = None if table_maps is None else list(table_maps)
        found: dict[str, int] = {}
        for half, pool in self._pools.items():
            for row in await fetch(pool, _COUNT, names) if half not in away else ():
                found[row["table_map"]] = found.get(row["table_map"], 0) + row["records"]
        return found

    async def dismiss(self, half: Half, ids: Collection[int]) -> None:
        """Give up refused records: they leave the list. NotFound when one is not there; nothing is removed then."""
        wanted = sorted(set(ids))
        if len(await fetch(self._pools[half], _DISMISS, wanted)) < len(wanted):
            raise NotFound(
                f"Not all of the refused records {wanted} are there: read the list again.",
                code="refused_record_not_found",
            )

    async def csv(self, *, table_map: str | None = None, request: UUID | None = None) -> AsyncIterator[str]:
        """The refused records of both halves as CSV (RFC 4180), in pieces of text, for an answer that streams."""
        yield _csv_line(_CSV_COLUMNS)
        for half in self._pools:
            after = 0
            while page := await self.list(half, table_map=table_map, request=request, after=after, limit=PAGE):
                yield "".join(_csv_line([_cell(getattr(record, name)) for name in _CSV_COLUMNS]) for record in page)
                after = page[-1].id


def _record_of(half: Half, row: asyncpg.Record) -> RefusedRecord:
    values = {**row, "record_key": shown_key(row["record_key"])}
    if values["record"] is not None:
        values["record"] = msgspec.json.decode(values["record"])
    return RefusedRecord(half=half, **values)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    # A spreadsheet would run what begins like this as a formula.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _csv_line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
