"""The main operation on data entities: a record is written over its data sources, many records at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.errors import Conflict, NotFound, Rejected
from isthmus.finops import images, references, table_methods, writes
from isthmus.finops.data_sources import COMPANY, RECID, VERSION, DataSources, Image, column_type
from isthmus.finops.records import Link, Record, find_columns
from isthmus.finops.values import NO_VALUE, convert

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

Columns = tuple[images.Column, ...]


async def create(app: FinopsApp, context: Context, message: Message, sources: DataSources) -> None:
    """Make the records of a message; their RecIds are set in its rows."""
    asked_for = app.pipeline.images(Operation.CREATE, message.table)
    columns = images.needed_columns(sources, _fields(sources, message.rows, asked_for))
    recids = await app.counters.take_recids(len(message.rows) * len(sources.sources))
    planned = writes.Writes(app.catalog)
    records = [_record(app, sources, planned, row, None, recids) for row in message.rows]
    await _plan(app, context, sources, records, columns)
    app.counters.return_recids(recids)
    for row, record in zip(message.rows, records, strict=True):
        row.id = record.recids[sources.root.name]
    await _write(app, context, planned, message)
    for row, record in zip(message.rows, records, strict=True):
        row.after = _after(record, columns)


async def update(app: FinopsApp, context: Context, message: Message, sources: DataSources) -> None:
    """Change the records of a message, in place: what another entity shows of the same rows changes with them.

    Raises NotFound, Conflict (`version_mismatch`), or Rejected (`key_not_editable`).
    """
    asked_for = app.pipeline.images(Operation.UPDATE, message.table)
    columns = images.needed_columns(sources, _fields(sources, message.rows, asked_for))
    found = await _lock(context, sources, message, columns)
    for row in message.rows:
        row.before = _fields_of(sources, found[_recid(row)])
        _check_keys(sources, row)
    recids = await app.counters.take_recids(len(message.rows) * len(sources.sources))
    planned = writes.Writes(app.catalog)
    records = [_record(app, sources, planned, row, found[_recid(row)], recids) for row in message.rows]
    await _plan(app, context, sources, records, columns)
    app.counters.return_recids(recids)
    await _write(app, context, planned, message)
    for row, record in zip(message.rows, records, strict=True):
        row.after = _after(record, columns)


async def delete(app: FinopsApp, context: Context, message: Message, sources: DataSources) -> None:
    """Delete the root rows of records, and what belongs to them alone.

    Raises NotFound, Conflict (`version_mismatch`, or `in_use` naming the table that still refers to a row).
    """
    asked_for = app.pipeline.images(Operation.DELETE, message.table)
    columns = images.needed_columns(sources, _fields(sources, message.rows, asked_for))
    found = await _lock(context, sources, message, columns)
    for row in message.rows:
        row.before = _fields_of(sources, found[_recid(row)])
    recids = [_recid(row) for row in message.rows]
    await table_methods.before_delete(app, context, sources.root.table, recids, message.through)
    await references.check_unused(app, context, sources.root.table, recids)
    await writes.delete(context, sources.root.table, recids, message.through)


def _recid(row: Row) -> int:
    if not isinstance(row.id, int):
        raise NotFound("No record was named. Give the RecId of its root row.", code="record_not_found")
    return row.id


def _fields(sources: DataSources, rows: list[Row], asked_for: Iterable[str]) -> frozenset[str]:
    """The fields that have to be read: those given, those that steps ask for, and the keys."""
    fields = {name for row in rows for name in row.values}
    fields.update(name for name in asked_for if name in sources.fields)
    fields.update(key.lower() for key in sources.entity.keys)
    return frozenset(fields)


async def _lock(context: Context, sources: DataSources, message: Message, columns: Columns) -> dict[int, Image]:
    """Lock and read the records of a message; all must exist, in the version that was asked for."""
    versioned = any(row.version is not None for row in message.rows)
    read = tuple(sorted({*columns, *images.version_columns(sources)})) if versioned else columns
    found = await images.lock(context.transaction, sources, [_recid(row) for row in message.rows], read)
    for row in message.rows:
        image = found.get(_recid(row))
        if image is None:
            raise NotFound(
                f"There is no record of {sources.entity.public_name} with RecId {row.id}.",
                code="record_not_found",
                entity=sources.entity.aot_name,
            )
        if row.version is not None:
            stands = max(image[column] for column in images.version_columns(sources))
            if stands != row.version:
                raise Conflict(
                    f"The record of {sources.entity.public_name} was changed by someone else after it was read. "
                    "Read it again, then repeat the change.",
                    code="version_mismatch",
                    entity=sources.entity.aot_name,
                )
    return found


def _check_keys(sources: DataSources, row: Row) -> None:
    """Key fields keep their value for good; one that is given again unchanged is ignored."""
    for key in sources.entity.keys:
        name = key.lower()
        if name not in row.values:
            continue
        value = row.values.pop(name)
        stands = (row.before or {}).get(name)
        same = (
            value.casefold() == stands.casefold() if isinstance(value, str) and stands is not None else value == stands
        )
        if not same:
            raise Rejected(
                f"Field '{key}' is part of the key of {sources.entity.public_name} and can't be changed after the "
                f"record was created ('{stands}' to '{value}').",
                code="key_not_editable",
                field=key,
            )


def _record(
    app: FinopsApp,
    sources: DataSources,
    planned: writes.Writes,
    row: Row,
    image: Image | None,
    new_recids: deque[int],
) -> Record:
    company = row.values.get(COMPANY) if image is None else image.get((sources.root.name, COMPANY))
    asked = {
        name: convert(sources.fields[name].field, value, app.catalog.enums)
        for name, value in row.given.items()
        if name in sources.fields
    }
    return Record(sources, planned, new_recids, company or app.default_company, row.values, asked, image)


async def _plan(
    app: FinopsApp, context: Context, sources: DataSources, records: list[Record], columns: Columns
) -> None:
    """Find the rows that records name by natural key, then plan what is written."""
    for link in app.links(sources):
        await _attach(context, sources, records, link, columns)
        for record in records:
            record.keep_spelling(link)
    for record in records:
        record.plan()


async def _attach(context: Context, sources: DataSources, records: list[Record], link: Link, columns: Columns) -> None:
    for record in records:
        given = [record.values[name] for name in link.fields if name in record.values]
        emptied = len(given) == len(link.fields) and not any(given)
        if emptied and link.source in record.recids:
            if sources.sources[link.source].definition.created:
                record.keep(link)
            else:
                record.detach(link)
    naming = [(record, key) for record in records if (key := record.named_key(link)) is not None]
    if not naming:
        return
    source = sources.sources[link.source]
    read = tuple(sorted({*find_columns(sources, source, columns), (link.source, RECID)}))
    keys = [{**dict(zip(link.columns, key, strict=True)), COMPANY: record.company} for record, key in naming]
    found = await images.find(context.transaction, sources, link.source, link.columns, keys, read)
    made: dict[tuple[Any, ...], Image] = {}
    for ordinal, (record, key) in enumerate(naming):
        folded = tuple(part.casefold() if isinstance(part, str) else part for part in key)
        image = found.get(ordinal) or made.get(folded)
        record.attach(link, image)
        if image is None:
            made[folded] = {(link.source, RECID): record.recids[link.source]}


async def _write(app: FinopsApp, context: Context, planned: writes.Writes, message: Message) -> None:
    await _number(app, planned)
    await table_methods.before_write(app, context, planned)
    await planned.run(context, message.through)
    await references.check(app, context, planned, app.compiled[message.table])


async def _number(app: FinopsApp, planned: writes.Writes) -> None:
    """Fill empty columns of new rows from their number sequences."""
    waiting: dict[tuple[str, str], list[tuple[writes.RowWrite, str]]] = {}
    for write in planned.rows.values():
        for column, sequence in write.sequences.items():
            if not write.value(column):
                waiting.setdefault((sequence, write.company), []).append((write, column))
    for (sequence, company), columns in waiting.items():
        numbers = await app.counters.numbers(sequence, company, len(columns))
        for (write, column), number in zip(columns, numbers, strict=True):
            write.values[column] = number


def _fields_of(sources: DataSources, image: Image) -> dict[str, Any]:
    """An image by entity field, with the system columns of the root."""
    values = {name: value for column, value in image.items() for name in sources.names.get(column, ())}
    root = sources.root.name
    values.update((column, image[root, column]) for column in (RECID, COMPANY, VERSION) if (root, column) in image)
    return values


def _after(record: Record, columns: Columns) -> dict[str, Any]:
    """What was read of a record, as it stands after its writes."""
    sources = record.sources
    image: Image = {}
    for name, column in columns:
        table = sources.sources[name].table
        if name in record.recids:
            image[name, column] = record.row(name).value(column)
        elif column not in (RECID, VERSION):
            image[name, column] = NO_VALUE[column_type(table, column)]
    return _fields_of(sources, image)
