"""Bodies of writes: a JSON object with columns, references to other rows, and rows to be created along with it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from isthmus.dataverse.webapi.json_values import from_json
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.relationship import OneToMany
from isthmus.metadata.table import Column, Table, per_table

MAX_DEEP_INSERT = 8
"""Levels of rows inside rows of one body."""

BIND = "@odata.bind"


class Payload(msgspec.Struct):
    """What a body asks for one row.

    `values` are by physical column. `references` are lookups given as addresses of rows (None: no row any more);
    `parents` are rows to be created for lookups, `children` rows to be created that point at this one, `linked`
    addresses of existing rows that shall point at this one. `address` is the row's own (`@odata.id`).
    """

    table: Table
    values: dict[str, Any]
    references: list[tuple[OneToMany, str | None]]
    parents: list[tuple[OneToMany, Payload]]
    children: list[tuple[OneToMany, list[Payload]]]
    linked: list[tuple[OneToMany, list[str]]]
    address: str | None = None

    @property
    def is_deep(self) -> bool:
        """Whether other rows are written with this one."""
        return bool(self.parents or self.children or self.linked)


_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def decode_body(body: bytes) -> Any:
    """The JSON of a body; numbers with a fraction stay exact. Rejected (`payload_syntax`) says where it breaks."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(
            f"The body is not JSON: {error}. Send an object with Content-Type application/json.", code="payload_syntax"
        ) from None


def read_payload(catalog: Catalog, table: Table, body: Any, depth: int = 0) -> Payload:
    """What a decoded body asks for one row of `table`. Rejected (`payload_property`) names what is wrong."""
    if not isinstance(body, dict):
        raise Rejected(f"The body for a row of '{table.entity_set_name}' must be a JSON object.", code="payload_syntax")
    if depth > MAX_DEEP_INSERT:
        raise Rejected(f"Rows are nested more than {MAX_DEEP_INSERT} levels deep.", code="payload_syntax")
    payload = Payload(table=table, values={}, references=[], parents=[], children=[], linked=[])
    columns = columns_on_wire(table)
    for key, value in body.items():
        column = columns.get(key)
        if column is not None and key == column.name:
            payload.values[column.name] = from_json(table, column, value)
        elif "@" in key:
            _read_annotation(catalog, payload, key, value)
        else:
            _read_navigation(catalog, payload, key, value, depth)
    return payload


@per_table
def columns_on_wire(table: Table) -> dict[str, Column]:
    """Columns by their names on the wire, lookups as `_x_value`."""
    return {column.wire_name: column for column in table.columns}


def _read_annotation(catalog: Catalog, payload: Payload, key: str, value: Any) -> None:
    table = payload.table
    if key == "@odata.id":
        payload.address = _address(table, key, value)
        return
    if not key.endswith(BIND):
        return
    name = key.removesuffix(BIND).lower()
    lookup = catalog.lookups_of.get(table.logical_name, {}).get(name)
    if lookup is not None:
        payload.references.append((lookup, None if value is None else _address(table, key, value)))
        return
    collection = catalog.collections_of.get(table.logical_name, {}).get(name)
    if collection is None:
        raise _unknown(table, key.removesuffix(BIND))
    if not isinstance(value, list):
        raise Rejected(f"'{key}' must be a list of addresses of rows.", code="payload_property", property=key)
    payload.linked.append((collection, [_address(table, key, item) for item in value]))


def _read_navigation(catalog: Catalog, payload: Payload, key: str, value: Any, depth: int) -> None:
    table = payload.table
    lookup = catalog.lookups_of.get(table.logical_name, {}).get(key.lower())
    if lookup is not None:
        if value is None:
            payload.references.append((lookup, None))
        elif (address := _referenced(table, key, value)) is not None:
            payload.references.append((lookup, address))
        elif isinstance(value, dict):
            parent = read_payload(catalog, catalog.table(lookup.referenced), value, depth + 1)
            payload.parents.append((lookup, parent))
        else:
            raise Rejected(
                f"'{key}' points at a row: give it as '{key}{BIND}' with the address of the row, or as an object to "
                "create a row.",
                code="payload_property",
                table=table.logical_name,
                property=key,
            )
        return
    collection = catalog.collections_of.get(table.logical_name, {}).get(key.lower())
    if collection is None:
        _refuse_lookup_value(catalog, table, key)
        raise _unknown(table, key)
    if not isinstance(value, list):
        raise Rejected(f"'{key}' must be a list of rows.", code="payload_property", property=key)
    referencing = catalog.table(collection.referencing)
    addresses = [_referenced(table, key, item) for item in value]
    if linked := [address for address in addresses if address is not None]:
        payload.linked.append((collection, linked))
    created = [item for item, address in zip(value, addresses, strict=True) if address is None]
    payload.children.append((collection, [read_payload(catalog, referencing, item, depth + 1) for item in created]))


def _refuse_lookup_value(catalog: Catalog, table: Table, key: str) -> None:
    """Say how a lookup is written when somebody writes it under the name by which it is read."""
    column = columns_on_wire(table).get(key) or table.column.get(key)
    if column is None or not column.type.is_lookup:
        return
    names = [
        lookup.lookup_navigation
        for lookup in catalog.lookups_of.get(table.logical_name, {}).values()
        if lookup.column == column.name
    ]
    ways = " or ".join(f"'{name}{BIND}'" for name in names) or "its navigation property"
    raise Rejected(
        f"'{key}' is a lookup: its id is read under '{column.wire_name}' and written by {ways} with the address of a "
        "row, such as /accounts(00000000-0000-0000-0000-000000000000), or null.",
        code="payload_property",
        table=table.logical_name,
        property=key,
    )


def _unknown(table: Table, key: str) -> Rejected:
    return Rejected(
        f"Invalid property '{key}' was found in entity 'Microsoft.Dynamics.CRM.{table.logical_name}': the table has no "
        "such column or navigation property.",
        code="payload_property",
        table=table.logical_name,
        property=key,
    )


def _referenced(table: Table, key: str, value: Any) -> str | None:
    """The address in `{"@odata.id": ...}`, by which a related row that exists is named; None for a row to be created.

    Source: OData JSON Format, "Entity Reference".
    """
    if not isinstance(value, dict) or "@odata.id" not in value:
        return None
    columns = [name for name in value if "@" not in name]
    if columns:
        raise Rejected(
            f"'{key}' names an existing row by @odata.id and gives it '{columns[0]}' too: leave out @odata.id to "
            "create a row, or change the existing row by a request of its own.",
            code="payload_property",
            table=table.logical_name,
            property=key,
        )
    return _address(table, key, value)


def _address(table: Table, key: str, value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("@odata.id"), str):
        value = value["@odata.id"]
    if not isinstance(value, str):
        raise Rejected(
            f"'{key}' must be the address of a row, such as /accounts(00000000-0000-0000-0000-000000000000).",
            code="payload_property",
            table=table.logical_name,
            property=key,
        )
    return value
