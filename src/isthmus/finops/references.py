"""References between F&O tables by natural key: the value must be there, and a row that is referred to must stay.

There are no foreign keys in the database, as in F&O: business logic checks, in the transaction of the save.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from isthmus.apps.context import Context
from isthmus.errors import Conflict, Rejected
from isthmus.finops import customers, vendors
from isthmus.finops.data_sources import COMPANY, RECID, DataSources, column_type, given_rows, table_sql_name
from isthmus.finops.values import encode
from isthmus.finops.writes import Writes
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import Entity, FinopsTable
from isthmus.metadata.types import FieldType
from isthmus.query.quoting import quote_identifier

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp


class Reference(msgspec.Struct, frozen=True):
    """Text in `column` of `table` that names a row of `target`, of the same company, by `target_column`."""

    table: FinopsTable
    column: str
    target: FinopsTable
    target_column: str

    @property
    def condition(self) -> str:
        """SQL that holds for a target row `t` and a referring row `k` with `company` and `value`."""
        company = "lower(t.dataareaid) = k.company and " if self.target.company_specific else ""
        return f"{company}lower(t.{quote_identifier(self.target_column)}) = lower(k.value)"


class References:
    """All references of a catalog: what entity relations say, and what the documents' modules list."""

    def __init__(self, catalog: Catalog) -> None:
        self.of: dict[tuple[str, str], Reference] = {}
        for entity in catalog.entities.values():
            for reference in _from_relations(catalog, entity):
                self.of.setdefault((reference.table.name, reference.column), reference)
        for table, column, aot_name, field in (*customers.REFERENCES, *vendors.REFERENCES):
            target = catalog.entities.get(aot_name)
            if table in catalog.finops_tables and target is not None:
                target_table = catalog.finops_tables[target.root.table]
                target_column = target.field[field.lower()].field.lower()
                self.of[table, column] = Reference(catalog.finops_tables[table], column, target_table, target_column)

    def to(self, table: str) -> list[Reference]:
        """The references that name rows of a table."""
        return [reference for reference in self.of.values() if reference.target.name == table]


async def check(app: FinopsApp, context: Context, planned: Writes, sources: DataSources) -> None:
    """Rejected (`reference_not_found`) when a value that was written names no row; empty is no reference."""
    values = []
    used: dict[tuple[str, str], int] = {}
    for write in planned.rows.values():
        for column, value in write.values.items():
            key = (write.table.name, column)
            if value and key in app.references.of:
                number = used.setdefault(key, len(used))
                values.append({"reference": number, "company": write.company, "value": value})
    if not values:
        return
    asked = [app.references.of[key] for key in used]
    missing = " or ".join(
        f"k.reference = {number} and not exists "
        f"(select from {table_sql_name(reference.target)} t where {reference.condition})"
        for number, reference in enumerate(asked)
    )
    given = given_rows("k", {"reference": "integer", "company": "text", "value": "text"}, len(values))
    sql = f"select k.reference, k.value from {given} where {missing} limit 1"  # noqa: S608  (definitions)
    record = await context.transaction.row(sql, encode(values))
    if record is not None:
        reference = asked[record["reference"]]
        bound = sources.field_of(reference.table.name, reference.column)
        field = sources.fields[bound].field.name if bound else reference.table.field[reference.column].name
        target = reference.target.label or reference.target.name
        raise Rejected(
            f"The value '{record['value']}' in field '{field}' is not found in the related table '{target}'. "
            "Create that record first, or give one that exists.",
            code="reference_not_found",
            field=field,
            value=record["value"],
        )


async def check_unused(app: FinopsApp, context: Context, table: FinopsTable, recids: Sequence[int]) -> None:
    """Conflict (`in_use`) when a row that is about to be deleted is still referred to, by natural key or by RecId."""
    tests = [
        (
            reference.table,
            f"select 1 from {table_sql_name(reference.table)} k, {table_sql_name(table)} t "  # noqa: S608
            f"where t.recid = any($1::bigint[]) and {_reversed(reference)} and k.recid <> t.recid",
        )
        for reference in app.references.to(table.name)
    ]
    tests += [
        (owner, f"select 1 from {table_sql_name(owner)} k where k.{quote_identifier(column)} = any($1::bigint[])")  # noqa: S608
        for owner, column in app.recid_references(table.name)
    ]
    if not tests:
        return
    columns = ", ".join(f"exists ({sql})" for _, sql in tests)
    for used, (owner, _) in zip(await context.transaction.row(f"select {columns}", list(recids)), tests, strict=True):
        if used:
            raise Conflict(
                f"A record of {table.label or table.name} ({table.name}) can't be deleted while records of "
                f"{owner.label or owner.name} ({owner.name}) refer to it. Delete or change those first.",
                code="in_use",
                table=table.name,
                used_by=owner.name,
            )


def recid_references(catalog: Catalog) -> dict[str, list[tuple[FinopsTable, str]]]:
    """By table: the (table, column) pairs that hold RecIds of its rows, as data sources join them."""
    found: dict[str, set[tuple[str, str]]] = {}
    for entity in catalog.entities.values():
        for source in entity.data_sources:
            parent = entity.source[source.parent].table if source.parent else ""
            for ours, theirs in source.on:
                if ours.lower() == RECID:
                    found.setdefault(source.table, set()).add((parent, theirs.lower()))
                elif theirs.lower() == RECID:
                    found.setdefault(parent, set()).add((source.table, ours.lower()))
    tables = catalog.finops_tables
    return {name: [(tables[table], column) for table, column in sorted(pairs)] for name, pairs in found.items()}


def _reversed(reference: Reference) -> str:
    company = "lower(t.dataareaid) = lower(k.dataareaid) and " if reference.target.company_specific else ""
    target, column = quote_identifier(reference.target_column), quote_identifier(reference.column)
    return f"{company}lower(k.{column}) = lower(t.{target}) and k.{column} <> ''"


def _from_relations(catalog: Catalog, entity: Entity) -> Iterable[Reference]:
    """References that an entity's relations say: one text field that, with the company, is the other entity's key."""
    for relation in entity.relations:
        target = catalog.entities.get(relation.entity)
        pairs = [(ours, theirs) for ours, theirs in relation.on if theirs.lower() != COMPANY]
        if relation.many or target is None or len(pairs) != 1:
            continue
        if {key.lower() for key in entity.keys} - {COMPANY} == {pairs[0][0].lower()}:
            # One key equal to another: two entities side by side, not a reference.
            continue
        if pairs[0][0].lower() == "name" or entity.root.fixed:
            # A record's own name is no reference; and one of some rows of a shared table is none of the others.
            continue
        ours, theirs = entity.field.get(pairs[0][0].lower()), target.field.get(pairs[0][1].lower())
        keys = {key.lower() for key in target.keys} - {COMPANY}
        if ours is None or theirs is None or keys != {theirs.column} or theirs.source != target.root.name:
            continue
        table = catalog.finops_tables[entity.source[ours.source].table]
        target_table = catalog.finops_tables[target.root.table]
        if target_table.company_specific and not table.company_specific:
            continue
        reference = Reference(table, ours.field.lower(), target_table, theirs.field.lower())
        texts = {column_type(table, reference.column), column_type(target_table, reference.target_column)}
        itself = (reference.table, reference.column) == (reference.target, reference.target_column)
        if texts == {FieldType.STRING} and not itself:
            yield reference
