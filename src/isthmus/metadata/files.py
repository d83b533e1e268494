"""Definition files: one TOML file per component of a solution <-> the structs of this package.

A solution is a folder: `solution.toml`, `tables/`, `choices/` (F&O enums), `finops_tables/`, `entities/`,
`table_maps/`, and where needed `number_sequences.toml` and `relationships.toml` (many-to-many). The file of a component
is named after it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from isthmus.errors import Rejected
from isthmus.metadata.choice import Enum
from isthmus.metadata.entity import Entity, FinopsTable, NumberSequence
from isthmus.metadata.relationship import ManyToMany, OneToMany
from isthmus.metadata.relationship_names import Named, named_by
from isthmus.metadata.solution import Solution
from isthmus.metadata.system_columns import groups_of, with_system_columns, without_system_columns
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import ARROWS, FieldMapping, TableMap, Transform
from isthmus.metadata.toml import write_document

T = TypeVar("T")


def read_document(path: Path) -> dict[str, Any]:
    """The TOML document in `path`; Rejected with file and line when it isn't TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid(path, str(error)) from None


def read_solution(path: Path) -> Solution:
    """The solution described by a `solution.toml`."""
    return _convert(path, read_document(path), Solution)


def read_table(path: Path, solution: str) -> tuple[Table, tuple[Named, ...]]:
    """The table of a file, with its system columns, and what the file says of its relationships."""
    document = read_document(path)
    named = _convert(path, document.pop("relationships", []), tuple[Named, ...], "relationships")
    groups = document.pop("system_columns", None)
    table = _convert(path, document | {"solution": solution}, Table)
    columns = with_system_columns(table.columns, groups_of(table.ownership) if groups is None else groups)
    return msgspec.structs.replace(table, columns=columns), named


def read_enum(path: Path) -> Enum:
    """The F&O enum of a file."""
    return _convert(path, read_document(path), Enum)


def read_finops_table(path: Path, solution: str) -> FinopsTable:
    """The F&O table of a file."""
    return _convert(path, read_document(path) | {"solution": solution}, FinopsTable)


def read_entity(path: Path, solution: str) -> Entity:
    """The data entity of a file. A field without `source` is the root's, one without `field` has its name there."""
    document = read_document(path) | {"solution": solution}
    sources = document.get("data_sources")
    if not isinstance(sources, list) or not sources:
        raise _invalid(path, "data_sources: an entity needs at least one data source")
    root = sources[0].get("name")
    for field in document.get("fields", ()):
        field.setdefault("source", root)
        field.setdefault("field", field.get("name"))
    return _convert(path, document, Entity)


def read_number_sequences(path: Path) -> tuple[NumberSequence, ...]:
    """The number sequences of a file."""
    return _convert(path, read_document(path).get("number_sequences", []), tuple[NumberSequence, ...])


def read_many_to_many(path: Path) -> tuple[ManyToMany, ...]:
    """The many-to-many relationships of a file."""
    return _convert(path, read_document(path).get("many_to_many", []), tuple[ManyToMany, ...])


def read_table_map(path: Path, solution: str) -> TableMap:
    """The table map of a file; each row is `[F&O field, arrow, Dataverse path]`, a transform fourth, "" for none."""
    place = "table_maps/earlier" if path.parent.name == "earlier" else "table_maps"
    document = read_document(path) | {"solution": solution, "file": f"{solution}/{place}/{path.name}"}
    return _table_map(path, document)


def table_map_of(document: dict[str, Any]) -> TableMap:
    """The table map of a document in the shape of a definition file; Rejected (`definition_invalid`) otherwise."""
    return _table_map(None, document)


def document_of(table_map: TableMap) -> dict[str, Any]:
    """The table map in the shape of its definition file."""
    document = _document(table_map, leave_out=("rows", "examples", "solution", "file"))
    document["version"] = table_map.version
    document["rows"] = [_row(mapping) for mapping in table_map.rows]
    document["examples"] = [_document(example) | {"to": example.to} for example in table_map.examples]
    return document


def _table_map(path: Path | None, document: dict[str, Any]) -> TableMap:
    rows = document.get("rows")
    if not isinstance(rows, list):
        raise _invalid(path, "rows: a table map needs its list of field mappings")
    table_map = _convert(path, document | {"rows": ()}, TableMap)
    mappings = tuple(_field_mapping(path, number, row) for number, row in enumerate(rows, 1))
    return msgspec.structs.replace(table_map, rows=mappings)


def _field_mapping(path: Path | None, number: int, row: Any) -> FieldMapping:
    if not isinstance(row, list) or not 3 <= len(row) <= 4:
        raise _invalid(path, f"row {number}: expected [F&O field, arrow, Dataverse path] and maybe a transform")
    finops, arrow, dataverse, *rest = row
    if arrow not in ARROWS:
        raise _invalid(path, f"row {number}: the arrow is one of {' '.join(ARROWS)}, not {arrow!r}")
    if not isinstance(finops, str) or not isinstance(dataverse, str):
        raise _invalid(path, f'row {number}: field and path are text, "" where there is none')
    transform = _convert(path, rest[0] if rest else {}, Transform, f"row {number}")
    return FieldMapping(
        finops=finops or None, arrow=arrow, dataverse=dataverse or None, transform=transform, row=number
    )


def _convert(path: Path | None, value: Any, to: type[T], where: str = "") -> T:
    try:
        return msgspec.convert(value, to)
    except msgspec.ValidationError as error:
        raise _invalid(path, f"{where}: {error}" if where else str(error)) from None


def _invalid(path: Path | None, what: str) -> Rejected:
    if path is None:
        return Rejected(f"The definition can't be read: {what}.", code="definition_invalid")
    return Rejected(f"{path}: {what}", code="definition_invalid", file=str(path))


def write_solution(solution: Solution) -> str:
    """TOML of a `solution.toml`."""
    return write_document(_document(solution))


def write_table(table: Table, relationships: Iterable[OneToMany]) -> str:
    """TOML of a table and of those names and behaviours of its relationships that are not the usual ones."""
    columns, groups = without_system_columns(table.columns)
    document = _document(table, leave_out=("columns", "keys", "solution"))
    if groups != groups_of(table.ownership):
        document["system_columns"] = groups
    document["columns"] = [_document(column) for column in columns]
    document["keys"] = [_document(key) for key in table.keys]
    document["relationships"] = [_document(named) for named in named_by(table, relationships)]
    return write_document(document, rows=("columns", "keys", "relationships"))


def write_enum(enum: Enum) -> str:
    """TOML of an F&O enum."""
    return write_document(
        {"name": enum.name, "members": [[m.value, m.symbol] for m in enum.members]}, rows=("members",)
    )


def write_finops_table(table: FinopsTable) -> str:
    """TOML of an F&O table."""
    document = _document(table, leave_out=("fields", "solution"))
    document["company_specific"] = table.company_specific
    document["fields"] = [_document(field) for field in table.fields]
    return write_document(document, rows=("unique_indexes", "indexes", "fields"))


def write_entity(entity: Entity) -> str:
    """TOML of a data entity."""
    document = _document(entity, leave_out=("data_sources", "fields", "relations", "solution"))
    document["company_specific"] = entity.company_specific
    document["data_sources"] = [_document(source) for source in entity.data_sources]
    root = entity.root.name
    rows = []
    for field in entity.fields:
        row = _document(field)
        if field.source == root:
            del row["source"]
        if field.field == field.name:
            del row["field"]
        rows.append(row)
    document["fields"] = rows
    document["relations"] = [_document(relation) | {"many": relation.many} for relation in entity.relations]
    return write_document(document, rows=("data_sources", "fields", "relations"))


def write_number_sequences(sequences: Iterable[NumberSequence]) -> str:
    """TOML of number sequences."""
    return write_document({"number_sequences": [_document(s) for s in sequences]}, tables=("number_sequences",))


def write_many_to_many(relationships: Iterable[ManyToMany]) -> str:
    """TOML of many-to-many relationships."""
    return write_document({"many_to_many": [_document(r) for r in relationships]}, tables=("many_to_many",))


def write_table_map(table_map: TableMap) -> str:
    """TOML of a table map."""
    return write_document(document_of(table_map), rows=("rows",), tables=("examples",))


def _row(mapping: FieldMapping) -> list[Any]:
    row: list[Any] = [mapping.finops or "", mapping.arrow, mapping.dataverse or ""]
    transform = _document(mapping.transform)
    return [*row, transform] if transform else row


def _document(struct: msgspec.Struct, leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """The fields of a struct that differ from their defaults, in the order of the struct."""
    document = {}
    for field in msgspec.structs.fields(type(struct)):
        value = getattr(struct, field.name)
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if field.name in leave_out or value == default:
            continue
        document[field.name] = _plain(value)
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        if type(value).__struct_config__.array_like:
            return [part for part in msgspec.structs.astuple(value) if part is not None]
        return _document(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
