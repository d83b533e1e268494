"""Rules for F&O tables, enums and data entities."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.metadata.catalog import Catalog
from isthmus.metadata.check.fault import Fault
from isthmus.metadata.check.tables import unsafe
from isthmus.metadata.entity import DataSource, Entity, FinopsTable
from isthmus.metadata.types import FieldType

_IMPLICIT = frozenset({"recid", "dataareaid"})
_SYSTEM = _IMPLICIT | {"recversion", "createddatetime", "createdby", "modifieddatetime", "modifiedby"}


def file_of(component: Entity | FinopsTable) -> str:
    """Definition file of an entity or a table."""
    if isinstance(component, Entity):
        return f"{component.solution}/entities/{component.aot_name}.toml"
    return f"{component.solution}/finops_tables/{component.name}.toml"


def names_are_safe(catalog: Catalog) -> Iterator[Fault]:
    """Names of tables, fields and entities become identifiers of the database."""
    for table in catalog.finops_tables.values():
        yield from unsafe(file_of(table), None, table.relation)
        for row, stored in enumerate(table.fields, 1):
            yield from unsafe(file_of(table), row, stored.column)
    for entity in catalog.entities.values():
        yield from unsafe(file_of(entity), None, entity.relation)
        for row, field in enumerate(entity.fields, 1):
            yield from unsafe(file_of(entity), row, field.column)


def names_are_unique(catalog: Catalog) -> Iterator[Fault]:
    """Relations, public names, collections and the fields within one component occur once; case makes no difference."""
    relations: dict[str, str] = {table.relation: table.name for table in catalog.finops_tables.values()}
    public: dict[str, str] = {}
    collections: dict[str, str] = {}
    for entity in catalog.entities.values():
        for kind, seen, name in (
            ("relation", relations, entity.relation),
            ("public name", public, entity.public_name),
            ("collection", collections, entity.collection),
        ):
            other = seen.setdefault(name.lower(), entity.aot_name)
            if other != entity.aot_name:
                message = f"is a {kind} of {other} too; give each its own."
                yield Fault(file=file_of(entity), code="name_twice", field=name, message=message)
        names = [field.name for field in entity.fields] + [relation.name for relation in entity.relations]
        yield from _twice(file_of(entity), names)
    for table in catalog.finops_tables.values():
        yield from _twice(file_of(table), [field.name for field in table.fields])


def _twice(file: str, names: list[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for row, name in enumerate(names, 1):
        if name.lower() in seen:
            yield Fault(file=file, row=row, code="name_twice", field=name, message="is listed twice; remove one.")
        seen.add(name.lower())


def tables_are_complete(catalog: Catalog) -> Iterator[Fault]:
    """Enum fields have an enum with members; indexes list fields; no field has the name of a system field."""
    for table in catalog.finops_tables.values():
        file = file_of(table)
        for row, field in enumerate(table.fields, 1):
            if field.name.lower() in _SYSTEM:
                message = "is a field every table has; don't list it."
                yield Fault(file=file, row=row, code="field_of_system", field=field.name, message=message)
            if (field.type is FieldType.ENUM) != (field.enum is not None) or (
                field.enum is not None and field.enum not in catalog.enums
            ):
                message = f"names the enum '{field.enum}'; a field of type enum, and no other, names one that exists."
                yield Fault(file=file, row=row, code="enum_unknown", field=field.name, message=message)
            if field.number_sequence is not None and field.number_sequence not in catalog.number_sequences:
                message = f"is filled by number sequence '{field.number_sequence}', which is not there."
                yield Fault(file=file, row=row, code="number_sequence_unknown", field=field.name, message=message)
        for index in (*table.unique_indexes, *table.indexes):
            for name in index:
                if name.lower() not in table.field:
                    message = f"is in index {', '.join(index)} but no field of the table."
                    yield Fault(file=file, code="index_field_unknown", field=name, message=message)
    for enum in catalog.enums.values():
        symbols = {member.symbol.lower() for member in enum.members}
        values = {member.value for member in enum.members}
        if not enum.members or len(symbols) < len(enum.members) or len(values) < len(enum.members):
            message = "needs members, each with its own value and symbol."
            yield Fault(file=f"choices/{enum.name}.toml", code="enum_unclear", field=enum.name, message=message)


def data_sources_join(catalog: Catalog) -> Iterator[Fault]:
    """Each source is over a table that exists, is joined to a source before it, and joins name fields of both."""
    for entity in catalog.entities.values():
        file = file_of(entity)
        known: dict[str, DataSource] = {}
        for row, source in enumerate(entity.data_sources, 1):
            for message in _disjoint(catalog, source, known):
                yield Fault(file=file, row=row, code="data_source_unclear", field=source.name, message=message)
            known[source.name] = source
        root = catalog.finops_tables.get(entity.root.table)
        if root is not None and root.company_specific != entity.company_specific:
            message = "and the entity disagree on being company-specific; change company_specific of one of them."
            yield Fault(file=file, row=1, code="data_source_unclear", field=root.name, message=message)


def _disjoint(catalog: Catalog, source: DataSource, known: dict[str, DataSource]) -> Iterator[str]:
    if source.name in known:
        yield "is the name of two sources; rename one."
    table = catalog.finops_tables.get(source.table)
    if table is None:
        yield f"is over table '{source.table}', which is not there."
        return
    yield from (f"fixes '{name}', which is no field of {table.name}." for name in source.fixed if not _has(table, name))
    if not known:
        if source.parent is not None or source.on:
            yield "is the root: it has neither parent nor join."
        return
    parent = known.get(source.parent or "")
    if parent is None:
        yield f"is joined to '{source.parent}', which is no source before it."
        return
    parent_table = catalog.finops_tables.get(parent.table)
    if not source.on:
        yield "is joined on nothing; say on which fields."
    for ours, theirs in source.on:
        if not _has(table, ours):
            yield f"is joined on '{ours}', which is no field of {table.name}."
        if parent_table is not None and not _has(parent_table, theirs):
            yield f"is joined on '{theirs}', which is no field of {parent_table.name}."


def _has(table: FinopsTable, name: str) -> bool:
    return name.lower() in table.field or name.lower() in _IMPLICIT


def fields_lie_on_sources(catalog: Catalog) -> Iterator[Fault]:
    """An entity field lies on a field of one of its sources, of the same type; keys and relations name fields."""
    for entity in catalog.entities.values():
        file = file_of(entity)
        sources = entity.source
        for row, field in enumerate(entity.fields, 1):
            source = sources.get(field.source)
            table = catalog.finops_tables.get(source.table) if source is not None else None
            if source is None or (table is not None and not _has(table, field.field)):
                message = f"lies on {field.source}.{field.field}, which is not there; correct source or field."
                yield Fault(file=file, row=row, code="field_unbound", field=field.name, message=message)
                continue
            stored = table.field.get(field.field.lower()) if table is not None else None
            if stored is not None and (stored.type, stored.enum) != (field.type, field.enum):
                message = f"is {field.type}, but {field.source}.{field.field} is {stored.type}; make them the same."
                yield Fault(file=file, row=row, code="field_unbound", field=field.name, message=message)
        for name in entity.keys:
            if name.lower() not in entity.field:
                message = "is a key field but no field of the entity."
                yield Fault(file=file, code="entity_key_unknown", field=name, message=message)
        if ("dataareaid" in (key.lower() for key in entity.keys)) != entity.company_specific:
            message = "dataAreaId is in the key of a company-specific entity, and of no other."
            yield Fault(file=file, code="entity_key_unknown", field="dataAreaId", message=message)
        yield from _relations(catalog, entity, file)


def _relations(catalog: Catalog, entity: Entity, file: str) -> Iterator[Fault]:
    for row, relation in enumerate(entity.relations, 1):
        target = catalog.entities.get(relation.entity)
        fields = target.field if target is not None else {}
        if any(ours.lower() not in entity.field or theirs.lower() not in fields for ours, theirs in relation.on):
            message = f"leads to {relation.entity} by fields that are not on both sides."
            yield Fault(file=file, row=row, code="relation_unclear", field=relation.name, message=message)
