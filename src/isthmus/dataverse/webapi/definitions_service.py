"""GET of definitions: EntityDefinitions and what hangs below, RelationshipDefinitions, GlobalOptionSetDefinitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from isthmus.apps.odata_answer import Answer, json_answer, text_answer
from isthmus.dataverse.webapi.definitions import (
    attribute,
    entity_definition,
    entity_key,
    metadata_id,
    one_to_many,
)
from isthmus.dataverse.webapi.definitions_query import PLAIN, Json, Shape, one, shaped
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.row_keys import no_such_segment
from isthmus.errors import NotFound, Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.query.literals import Literal
from isthmus.query.odata import decode_options
from isthmus.query.odata_path import Segment
from isthmus.query.odata_syntax import OptionsSyntax, read_condition, read_expand, read_orderby, read_select

CRM = "Microsoft.Dynamics.CRM."

ROOTS = frozenset({"entitydefinitions", "relationshipdefinitions", "globaloptionsetdefinitions"})

ATTRIBUTE = Shape(
    {
        "OptionSet": (lambda item: item.get("OptionSet"), PLAIN),
        "GlobalOptionSet": (lambda item: item.get("GlobalOptionSet"), PLAIN),
    },
    hidden=frozenset({"OptionSet", "GlobalOptionSet"}),
)

ANY_KIND = ("AttributeMetadata", "EnumAttributeMetadata", "RelationshipMetadataBase")
ENUM_KINDS = tuple(f"#{CRM}{kind}AttributeMetadata" for kind in ("Picklist", "State", "Status", "MultiSelectPicklist"))


class Definitions:
    """The definitions of one version of the catalog, built when first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._names = {metadata_id(name): name for name in catalog.tables}
        self._entities: dict[str, Json] = {}
        self._parts: dict[tuple[str, str], list[Json]] = {}
        self.entity_shape = Shape(
            {
                "Attributes": (lambda entity: self.attributes(entity["LogicalName"]), ATTRIBUTE),
                "Keys": (lambda entity: self.keys(entity["LogicalName"]), PLAIN),
                "OneToManyRelationships": (lambda entity: self.one_to_many(entity["LogicalName"]), PLAIN),
                "ManyToOneRelationships": (lambda entity: self.many_to_one(entity["LogicalName"]), PLAIN),
                "ManyToManyRelationships": (lambda entity: [], PLAIN),
                "Settings": (lambda entity: [], PLAIN),
            }
        )

    def entities(self) -> list[Json]:
        """All tables."""
        return [self.entity(name) for name in self._catalog.tables]

    def entity(self, logical_name: str) -> Json:
        """One table; NotFound when there is none of that name."""
        found = self._entities.get(logical_name)
        if found is None:
            found = entity_definition(self._catalog, self._catalog.table(logical_name))
            self._entities[logical_name] = found
        return found

    def logical_name(self, segment: Segment) -> str:
        """The table that `EntityDefinitions(...)` names, by MetadataId or LogicalName."""
        key = segment.key
        if "logicalname" in key:
            name = key["logicalname"].text.strip("'").lower()
            self._catalog.table(name)
            return name
        given = next(iter(key.values())).text.strip("'").lower()
        if given not in self._names:
            raise NotFound(f"There is no table with the metadata id {given}.", code="row_not_found", id=given)
        return self._names[given]

    def attributes(self, table_name: str) -> list[Json]:
        """Columns of a table."""
        table = self._catalog.table(table_name)
        return self._part(
            table_name,
            "attributes",
            lambda: [attribute(table, column, number) for number, column in enumerate(table.columns, start=1)],
        )

    def keys(self, table_name: str) -> list[Json]:
        """Alternate keys of a table."""
        table = self._catalog.table(table_name)
        return self._part(table_name, "keys", lambda: [entity_key(table, key) for key in table.keys])

    def one_to_many(self, table_name: str) -> list[Json]:
        """Relationships in which the table is the one that others point at."""
        found = self._catalog.collections_of.get(table_name, {})
        return self._part(table_name, "1:N", lambda: [one_to_many(self._catalog, r) for r in found.values()])

    def many_to_one(self, table_name: str) -> list[Json]:
        """Relationships in which the table points at others."""
        found = self._catalog.lookups_of.get(table_name, {})
        return self._part(table_name, "N:1", lambda: [one_to_many(self._catalog, r) for r in found.values()])

    def relationships(self) -> list[Json]:
        """All relationships."""
        return self._part("", "all", lambda: [one_to_many(self._catalog, r) for r in self._catalog.one_to_many])

    def _part(self, table_name: str, part: str, build: Callable[[], list[Json]]) -> list[Json]:
        found = self._parts.get((table_name, part))
        if found is None:
            found = self._parts[table_name, part] = build()
        return found


def read_definitions(definitions: Definitions, request: Request) -> Answer:
    """Answer a GET below one of the roots."""
    options = _options(request.query)
    first, *rest = request.segments
    root = first.name.lower()
    if root == "globaloptionsetdefinitions":
        if first.arguments:
            raise NotFound("There is no global choice of that name.", code="row_not_found")
        return _collection(request, "GlobalOptionSetDefinitions", [], PLAIN, options)
    if root == "relationshipdefinitions":
        return _below(request, "RelationshipDefinitions", definitions.relationships(), PLAIN, [first, *rest], options)
    if not first.arguments:
        if rest:
            raise no_such_segment(rest[0])
        return _collection(request, "EntityDefinitions", definitions.entities(), definitions.entity_shape, options)
    name = definitions.logical_name(first)
    entity = definitions.entity(name)
    if not rest:
        return _single(request, "EntityDefinitions", entity, definitions.entity_shape, options)
    part = next((part for part in definitions.entity_shape.expansions if part.lower() == rest[0].name.lower()), None)
    if part is None:
        return _property(request, entity, rest)
    getter, shape = definitions.entity_shape.expansions[part]
    context = f"EntityDefinitions('{name}')/{part}"
    return _below(request, context, getter(entity), shape, rest, options)


def _below(
    request: Request, context: str, items: list[Json], shape: Shape, segments: list[Segment], options: OptionsSyntax
) -> Answer:
    """A collection of parts: all, those of one kind, one of them, or a property of that one."""
    first, *rest = segments
    if rest and rest[0].name.startswith(CRM):
        items = [item for item in items if _is_kind(item, rest[0].name.removeprefix(CRM))]
        context = f"{context}/{rest[0].name}"
        if first.arguments is None and rest[0].arguments:
            first = rest[0]
        rest = rest[1:]
    if first.arguments is None:
        if rest:
            raise no_such_segment(rest[0])
        return _collection(request, context, items, shape, options)
    item = _find(items, first)
    if not rest:
        return _single(request, context, item, shape, options)
    expansion = next((name for name in shape.expansions if name.lower() == rest[0].name.lower()), None)
    if expansion is not None and len(rest) == 1 and item.get(expansion) is not None:
        return _single(request, f"{context}/{expansion}", item[expansion], PLAIN, options)
    return _property(request, item, rest)


def _find(items: list[Json], segment: Segment) -> Json:
    wanted = {name: argument.text.strip("'").lower() for name, argument in segment.key.items()}
    for item in items:
        named = {name.lower(): str(value).lower() for name, value in item.items() if isinstance(value, str)}
        if all(named.get(name or "metadataid") == value for name, value in wanted.items()):
            return item
    raise NotFound(f"There is no definition {', '.join(wanted.values())} here.", code="row_not_found")


def _is_kind(item: Json, kind: str) -> bool:
    if kind == "EnumAttributeMetadata":
        return item.get("@odata.type") in ENUM_KINDS
    return kind in ANY_KIND or item.get("@odata.type") == f"#{CRM}{kind}"


def _property(request: Request, item: Json, segments: list[Segment]) -> Answer:
    value: Any = item
    for segment in segments:
        if segment.name == "$value":
            return text_answer(str(value))
        key = (
            next((key for key in value if key.lower() == segment.name.lower()), None)
            if isinstance(value, dict)
            else None
        )
        if key is None:
            raise no_such_segment(segment)
        value = value[key]
    return json_answer({"@odata.context": f"{request.base}/$metadata#{segments[-1].name}", "value": value})


def _collection(request: Request, context: str, items: Iterable[Json], shape: Shape, options: OptionsSyntax) -> Answer:
    found = shaped(items, shape, options)
    counted: Json = {"@odata.count": len(found)} if options.count else {}
    return json_answer({"@odata.context": f"{request.base}/$metadata#{context}", **counted, "value": found})


def _single(request: Request, context: str, item: Json, shape: Shape, options: OptionsSyntax) -> Answer:
    found = one(item, shape, options)
    return json_answer({"@odata.context": f"{request.base}/$metadata#{context}/$entity", **found})


def _options(query: str) -> OptionsSyntax:
    """The query options of the address; definitions know no paging."""
    read: Json = {}
    for name, text in decode_options(query):
        match name.lower():
            case "$select":
                read["select"] = read_select(text)
            case "$filter":
                read["filter"] = read_condition(text)
            case "$orderby":
                read["orderby"] = read_orderby(text)
            case "$expand":
                read["expand"] = read_expand(text)
            case "$top" if text.strip().isdigit():
                read["top"] = Literal("integer", text.strip())
            case "$count":
                read["count"] = text.strip().lower() == "true"
            case "$skip" | "$apply" | "$search" | "$format" | "$top":
                raise Rejected(f"The query option {name} is not supported on definitions.", code="not_supported")
    return OptionsSyntax(**read)
