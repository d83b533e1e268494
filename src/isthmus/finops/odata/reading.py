"""GET of records: pages, single records, properties, related records and counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from isthmus.apps.odata_answer import JSON_HEADERS, Answer, json_answer, no_content, text_answer
from isthmus.errors import NotFound
from isthmus.finops.app import FinopsApp
from isthmus.finops.data_sources import COMPANY
from isthmus.finops.odata.answers import record_answer
from isthmus.finops.odata.keys import RecordKey, entity_of_segment, record_key
from isthmus.finops.odata.request import Request
from isthmus.finops.relations import relations
from isthmus.metadata.entity import Entity
from isthmus.metadata.types import FieldType
from isthmus.query.model import Navigation
from isthmus.query.odata_path import Segment
from isthmus.query.planner import Planner, with_token
from isthmus.query.record_json import WireOptions

MAX_PAGE_SIZE = 10_000
"""Records of a page, as in F&O."""

WIRE = WireOptions(key=False)
"""`$select` gives what it names; F&O adds no keys."""

Fetch = Callable[..., Awaitable[list[Any]]]


class Reader:
    """Reads records of all entities; belongs to one version of the catalog."""

    def __init__(self, app: FinopsApp) -> None:
        self.app = app
        self.catalog = app.catalog
        self.relations = relations(app.catalog)
        self.planner = Planner(self.relations, "finops", page_size=MAX_PAGE_SIZE)

    async def read(self, request: Request) -> Answer:
        """Answer a GET whose path starts at an entity set."""
        first, *rest = request.segments
        entity = entity_of_segment(self.catalog, first)
        if first.arguments is None:
            if not rest:
                return await self._page(request, entity)
            if rest[0].name == "$count" and len(rest) == 1:
                return await self._count(request, entity)
            raise no_such_segment(rest[0])
        key = self.key(entity, first)
        if not rest:
            return await self._one(request, key)
        return await self._below(request, key, rest)

    def key(self, entity: Entity, segment: Segment) -> RecordKey:
        """The key in the parentheses of a segment."""
        return record_key(entity, self.relations[entity.aot_name], segment, self.app.default_company)

    async def record(self, key: RecordKey, request: Request, query: str, fetch: Fetch) -> tuple[str, str]:
        """The JSON of a record and the list of its properties for the context address; NotFound when it isn't there."""
        if not request.cross_company and key.company not in (None, self.app.default_company):
            raise record_not_found(key)
        asked = self.planner.ask_one(key.entity.aot_name, key.values, query, WIRE)
        found = await fetch(asked.sql, *asked.arguments)
        if not found:
            raise record_not_found(key)
        return found[0][0], asked.plan.select_list

    @property
    def fetch(self) -> Fetch:
        """Reads outside a transaction."""
        return self.app.pool.fetch

    def _companies(self, request: Request, entity: Entity) -> Mapping[str, Any]:
        """Without cross-company=true only the caller's own company is shown."""
        if entity.company_specific and not request.cross_company:
            return {COMPANY: self.app.default_company}
        return {}

    async def _page(self, request: Request, entity: Entity) -> Answer:
        with request.stages.stage("plan"):
            fixed = self._companies(request, entity)
            asked = self.planner.ask(entity.aot_name, request.query, WIRE, fixed=fixed, page_size=request.page_size)
        with request.stages.stage("main"):
            counted = None
            if asked.count_sql is not None:
                counted = (await self.fetch(asked.count_sql, *asked.count_arguments))[0][0]
            page = asked.page(await self.fetch(asked.sql, *asked.arguments))
        with request.stages.stage("shape"):
            head = f'{{"@odata.context":"{request.base}/$metadata#{entity.collection}{asked.plan.select_list}"'
            if counted is not None:
                head += f',"@odata.count":{counted}'
            tail = "]}"
            if page.next_token is not None:
                following = f"{request.base}/{request.path}?{with_token(request.query, page.next_token)}"
                tail = f'],"@odata.nextLink":{msgspec.json.encode(following).decode()}}}'
            body = f'{head},"value":[{page.records}{tail}'.encode()
        return Answer(200, JSON_HEADERS, body)

    async def _count(self, request: Request, entity: Entity) -> Answer:
        fixed = self._companies(request, entity)
        asked = self.planner.ask_count(entity.aot_name, request.query, fixed=fixed)
        found = await self.fetch(asked.sql, *asked.arguments)
        return text_answer(str(found[0][0]))

    async def _one(self, request: Request, key: RecordKey) -> Answer:
        with request.stages.stage("main"):
            record, select_list = await self.record(key, request, request.query, self.fetch)
        with request.stages.stage("shape"):
            answer = record_answer(request.base, f"{key.entity.collection}{select_list}/$entity", record)
        if (b"etag", request.headers.get(b"if-none-match")) in answer.headers:
            return Answer(304, answer.headers, b"")
        return answer

    async def _below(self, request: Request, key: RecordKey, rest: list[Segment]) -> Answer:
        """A property of a record, or the records a navigation property leads to."""
        name, last = rest[0].name.lower(), rest[1].name if len(rest) > 1 else ""
        if len(rest) > 2 or rest[0].arguments is not None or last not in ("", "$value"):
            raise no_such_segment(rest[-1])
        relation = self.relations[key.entity.aot_name]
        if name in relation.columns:
            return await self._property(request, key, relation.columns[name].name, raw=bool(last))
        navigation = relation.navigations.get(name)
        if navigation is None or last:
            raise no_such_segment(rest[0])
        return await self._related(request, key, navigation)

    async def _property(self, request: Request, key: RecordKey, name: str, *, raw: bool) -> Answer:
        record, _ = await self.record(key, request, f"$select={name}", self.fetch)
        value = bytes(msgspec.json.decode(record, type=dict[str, msgspec.Raw])[name])
        if raw:
            decoded = msgspec.json.decode(value)
            return text_answer(decoded if isinstance(decoded, str) else value.decode())
        context = f"{record_address(request.base + '/$metadata#', key)}/{name}"
        return Answer(200, JSON_HEADERS, f'{{"@odata.context":"{context}","value":'.encode() + value + b"}")

    async def _related(self, request: Request, key: RecordKey, navigation: Navigation) -> Answer:
        """Read as an expansion, of which only the related records are shown."""
        options = [part for part in request.query.split("&") if part[:1] in ("$", "%")]
        nested = f"({';'.join(options)})" if options else ""
        query = f"$select={key.entity.keys[-1]}&$expand={navigation.name}{nested}"
        record, _ = await self.record(key, request, query, self.fetch)
        related = bytes(msgspec.json.decode(record, type=dict[str, msgspec.Raw])[navigation.name]).decode()
        target = self.catalog.entity(navigation.target)
        if navigation.many:
            context = f"{request.base}/$metadata#{target.collection}"
            return Answer(200, JSON_HEADERS, f'{{"@odata.context":"{context}","value":{related}}}'.encode())
        if related == "null":
            return no_content()
        return record_answer(request.base, f"{target.collection}/$entity", related)

    def service_document(self, request: Request) -> Answer:
        """The entity sets."""
        sets = sorted(entity.collection for entity in self.catalog.entities.values())
        return json_answer(
            {
                "@odata.context": f"{request.base}/$metadata",
                "value": [{"name": name, "kind": "EntitySet", "url": name} for name in sets],
            }
        )


def record_address(base: str, key: RecordKey) -> str:
    """The address of a record below `base`, values percent-encoded, quotes doubled."""
    parts = [f"{name}={_literal(key.entity, name, key.values[name.lower()])}" for name in key.entity.keys]
    separator = "" if base.endswith("#") else "/"
    return f"{base}{separator}{key.entity.collection}({','.join(parts)})"


def _literal(entity: Entity, name: str, value: Any) -> str:
    field = entity.field[name.lower()]
    if field.type is FieldType.STRING:
        doubled = str(value).replace("'", "''")
        return f"'{quote(doubled, safe=chr(39))}'"
    if field.type in (FieldType.DATE, FieldType.DATE_TIME):
        moment = f"{value:%Y-%m-%dT%H:%M:%SZ}" if field.type is FieldType.DATE_TIME else f"{value:%Y-%m-%d}T12:00:00Z"
        return quote(moment, safe=":")
    return quote(str(value), safe="")


def record_not_found(key: RecordKey) -> NotFound:
    """The error for a key that no record has."""
    shown = ", ".join(f"{name}={key.values[name.lower()]!s}" for name in key.entity.keys)
    return NotFound(
        f"There is no record of {key.entity.public_name} with the key {shown} in the companies asked for. "
        "Records of other companies than your own need cross-company=true.",
        code="record_not_found",
        entity=key.entity.aot_name,
    )


def no_such_segment(segment: Segment) -> NotFound:
    """The error for a part of the address that leads nowhere."""
    return NotFound(f"No HTTP resource was found that matches the segment '{segment.name}'.", code="segment_not_found")
