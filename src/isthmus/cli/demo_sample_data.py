"""The sample company data, loaded as any integration would load it: over OData of the finance and operations half.

Dual-write carries each record to Dataverse in the same transaction. The data are CSV files under solutions/sample_data,
one for each entity set; columns are public field names, an empty cell is a field that is not given.
"""

from __future__ import annotations

import asyncio
import csv
import tomllib
from collections.abc import Callable
from decimal import Decimal
from importlib import resources
from typing import Any

import httpx
import msgspec

from isthmus.cli.demo_log_in import LogIn
from isthmus.errors import Unavailable
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity
from isthmus.metadata.types import FieldType
from isthmus.solutions import catalog

CONNECTIONS = 8
SECONDS = 120
"""How long one record may take: the first writes after a start compile the table maps."""

Done = Callable[[str, int], None]
"""Told the entity set and how many of its records have just been dealt with."""

Record = dict[str, str]


class Loaded(msgspec.Struct, frozen=True):
    """Records of the sample data: all of them, those that were there already, and those created now."""

    total: int
    present: int
    created: int


def records_of(entity_set: str) -> list[Record]:
    """The sample records of one entity set as written in its file: field name -> text."""
    text = (_FOLDER / f"{entity_set}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def waves() -> list[list[str]]:
    """The entity sets in the order in which they are loaded; those of one wave don't name each other."""
    document = tomllib.loads((_FOLDER / "load_order.toml").read_text(encoding="utf-8"))
    return [list(wave) for wave in document["waves"]]


def payload(entity: Entity, record: Record) -> dict[str, Any]:
    """A sample record as the JSON object of a create: numbers as numbers, dates as instants, empty cells left out."""
    return {name: _json_value(entity, name, text) for name, text in record.items() if text}


async def load(log_in: LogIn, done: Done = lambda entity_set, records: None) -> Loaded:
    """Create the sample records that are not there yet. Raises Unavailable with the answer to the first refusal."""
    definitions = catalog()
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    total = created = 0
    async with httpx.AsyncClient(
        base_url=log_in.finops_url, headers=log_in.headers, verify=log_in.trust(), limits=limits, timeout=SECONDS
    ) as client:
        for wave in waves():
            results = await asyncio.gather(*(_load_set(client, definitions, name, done) for name in wave))
            total += sum(count for count, _ in results)
            created += sum(count for _, count in results)
    return Loaded(total, total - created, created)


async def _load_set(client: httpx.AsyncClient, definitions: Catalog, name: str, done: Done) -> tuple[int, int]:
    """Create what an entity set lacks; returns how many sample records it has, and how many of them were created."""
    entity = definitions.entity_of_collection[name.lower()]
    records = [payload(entity, record) for record in records_of(name)]
    there = await _keys_there(client, entity)
    missing = [record for record in records if _key(entity, record) not in there]
    done(name, len(records) - len(missing))
    queue = iter(missing)

    async def create_some() -> None:
        # All share one iterator: each takes the next record when its connection is free.
        for record in queue:
            await _create(client, entity, record)
            done(name, 1)

    await asyncio.gather(*(create_some() for _ in range(CONNECTIONS)))
    return len(records), len(missing)


async def _keys_there(client: httpx.AsyncClient, entity: Entity) -> set[tuple[str, ...]]:
    """Keys of the records that an entity set has, in all companies."""
    found: set[tuple[str, ...]] = set()
    address: str | None = f"/{entity.collection}?$select={','.join(entity.keys)}&cross-company=true"
    while address:
        answer = await client.get(address)
        if answer.status_code != httpx.codes.OK:
            raise Unavailable(f"{entity.collection} can't be read: {_said(answer)}", code="sample_data")
        page = msgspec.json.decode(answer.content)
        found |= {_key(entity, record) for record in page["value"]}
        address = page.get("@odata.nextLink")
    return found


async def _create(client: httpx.AsyncClient, entity: Entity, record: dict[str, Any]) -> None:
    answer = await client.post(f"/{entity.collection}", json=record)
    if answer.status_code != httpx.codes.CREATED:
        key = ", ".join(f"{name} {record[name]}" for name in entity.keys)
        raise Unavailable(f"{entity.collection} ({key}) was refused: {_said(answer)}", code="sample_data")


def _json_value(entity: Entity, name: str, text: str) -> Any:
    match entity.field[name.lower()].type:
        case FieldType.INT | FieldType.INT64:
            return int(text)
        case FieldType.REAL:
            return float(text)
        case FieldType.DATE | FieldType.DATE_TIME:
            return f"{text}T00:00:00Z"
        case _:
            return text


def _key(entity: Entity, record: dict[str, Any]) -> tuple[str, ...]:
    """A record's key in one spelling: F&O compares text without regard to case, 1 is 1.0, a date has no time."""
    return tuple(_key_part(entity.field[name.lower()].type, record[name]) for name in entity.keys)


def _key_part(field_type: FieldType, value: Any) -> str:
    if isinstance(value, int | float):
        return format(Decimal(str(value)).normalize(), "f")
    return str(value)[: len("2026-01-01")] if field_type is FieldType.DATE else str(value).lower()


def _said(answer: httpx.Response) -> str:
    """What an error answer says, the innermost message of F&O's shape first."""
    try:
        error = answer.json()["error"]
        return str(error.get("innererror", {}).get("message") or error["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"


_FOLDER = resources.files("isthmus.solutions") / "sample_data" / "contoso"
