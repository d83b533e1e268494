"""Which row an address names: by its id, or by the values of an alternate key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from isthmus.dataverse.alternate_keys import declared_key, find_by_keys
from isthmus.dataverse.system_users import Fetch
from isthmus.errors import NotFound, Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table import Table
from isthmus.query.literals import value_of
from isthmus.query.model import Relation, Relations
from isthmus.query.odata_path import Argument, Segment, parse_path

_SERVICE_ROOT = re.compile(r"^/?api/data/v[\d.]+/", re.IGNORECASE)


class RowKey(msgspec.Struct, frozen=True):
    """`id`, or `values` of an alternate key by physical column."""

    table: Table
    id: UUID | None = None
    values: dict[str, Any] = {}


def table_of_segment(catalog: Catalog, segment: Segment) -> Table:
    """The table whose entity set the segment names; NotFound (`segment_not_found`) otherwise."""
    table = catalog.table_of_set.get(segment.name.lower())
    if table is None:
        raise no_such_segment(segment)
    return table


def no_such_segment(segment: Segment) -> NotFound:
    """The error for a part of the address that leads nowhere."""
    return NotFound(f"Resource not found for the segment '{segment.name}'.", code="segment_not_found")


def row_key(table: Table, relation: Relation, segment: Segment) -> RowKey:
    """The row that the parentheses of a segment name. Rejected (`key_not_declared`) when they name none."""
    arguments = segment.arguments or ()
    if not arguments:
        raise Rejected(f"'{segment.name}' needs the key of a row in its parentheses.", code="key_not_declared")
    if arguments[0].name is None:
        return RowKey(table, id=_guid(table, arguments[0]))
    values = {}
    for argument in arguments:
        column = relation.columns.get((argument.name or "").lower()) or relation.physical.get(argument.name or "")
        if column is None:
            raise Rejected(
                f"The key names '{argument.name}', which is no column of table '{table.logical_name}'.",
                code="key_not_declared",
                table=table.logical_name,
            )
        if argument.literal is None:
            raise Rejected(f"The value {argument.text} of '{argument.name}' is no literal.", code="key_not_declared")
        values[column.physical] = value_of(argument.literal, column.kind, column).value
    if values.keys() == {table.primary_id}:
        return RowKey(table, id=values[table.primary_id])
    declared_key(table, frozenset(values))
    return RowKey(table, values=values)


def _guid(table: Table, argument: Argument) -> UUID:
    try:
        return UUID(argument.text.strip("'"))
    except ValueError:
        raise Rejected(
            f"{argument.text[:100]} is not the id of a row of '{table.logical_name}': give a GUID, or name the columns "
            "of an alternate key, as in (accountnumber='A1').",
            code="key_not_declared",
            table=table.logical_name,
        ) from None


async def find_ids(keys: Sequence[RowKey], fetch: Fetch) -> list[UUID | None]:
    """The ids that keys name, in their order; None where an alternate key finds no row. Ids are not looked up.

    Keys over the same columns are looked up together.
    """
    ids = [key.id for key in keys]
    alike: dict[tuple[str, frozenset[str]], list[int]] = {}
    for number, key in enumerate(keys):
        if key.id is None:
            alike.setdefault((key.table.logical_name, frozenset(key.values)), []).append(number)
    for numbers in alike.values():
        found = await find_by_keys(keys[numbers[0]].table, [keys[number].values for number in numbers], fetch)
        for number, row_id in zip(numbers, found, strict=True):
            ids[number] = row_id
    return ids


async def require_ids(keys: Sequence[RowKey], fetch: Fetch) -> list[UUID]:
    """As `find_ids`; NotFound (`key_row_not_found`) when one of the rows isn't there."""
    found = []
    for key, row_id in zip(keys, await find_ids(keys, fetch), strict=True):
        if row_id is None:
            raise key_row_not_found(key)
        found.append(row_id)
    return found


async def require_id(key: RowKey, fetch: Fetch) -> UUID:
    """As `require_ids`, for one key."""
    return (await require_ids([key], fetch))[0]


def key_row_not_found(key: RowKey) -> NotFound:
    """The error for values of an alternate key that no row has."""
    values = ", ".join(f"{name} = {value}" for name, value in key.values.items())
    return NotFound(
        f"A record with the specified key values does not exist in {key.table.logical_name} entity ({values}).",
        code="key_row_not_found",
        table=key.table.logical_name,
    )


def key_of_address(catalog: Catalog, relations: Relations, address: str) -> RowKey:
    """The row that an address in a body names: absolute, below the service root, or `accounts(...)` alone."""
    text = urlsplit(address).path if "://" in address.partition("(")[0] else address
    segments = parse_path(_SERVICE_ROOT.sub("", text))
    if len(segments) != 1:
        raise Rejected(f"'{address[:200]}' is not the address of a row.", code="payload_property")
    table = table_of_segment(catalog, segments[0])
    return row_key(table, relations[table.logical_name], segments[0])
