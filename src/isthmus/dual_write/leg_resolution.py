"""(b) of a leg towards Dataverse: joins that find the ids behind natural keys, and the row that a record belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from isthmus.dataverse.schema import sql_name
from isthmus.dual_write.leg_sql import key_rows, same_text, value_name
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.map_path import COMPANY_CODE, COMPANY_TABLE, MapPath
from isthmus.metadata.table import Table
from isthmus.metadata.table_map import TableMap
from isthmus.query.quoting import quote_identifier, quote_literal


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What is found for each row `s` of projected values.

    `joins` go behind it in a FROM clause. `columns` are the ids behind lookups, and the tables of polymorphic ones, by
    physical column; `target` the row that the record belongs to. `missing` are texts, null or the name of a column
    whose natural key names no row. `key_columns` are the lookups that the integration key needs.
    """

    joins: str
    columns: Mapping[str, str]
    target: str
    missing: Sequence[str]
    key_columns: frozenset[str]


def resolution(
    table_map: TableMap, table: Table, paths: Sequence[MapPath], catalog: Catalog, *, staged: bool
) -> Resolution:
    """The joins of a map's table for rows `s` of values named by `leg_sql.value_name`.

    A few records as JSON have `company` and `target`, the row where it is known already; each is looked up by itself,
    so that no table is read whole for them. `staged` records have `_company`: where a key of the catalog says that one
    row at most is found, a plain join finds it, and PostgreSQL may choose how for many at once.
    """
    code = "s._company" if staged else "s.company"
    joins: list[str] = []
    columns: dict[str, str] = {}
    missing: list[str] = []
    if table.company_column or any(_leads_to_company_specific(path) for path in paths):
        company = catalog.table(COMPANY_TABLE)
        found = f"c.{quote_identifier(company.primary_id)}"
        joins.append(f" left join {sql_name(company)} c on lower(c.{quote_identifier(COMPANY_CODE)}) = lower({code})")
        if table.company_column and table.company_column not in {path.head.name for path in paths}:
            columns[table.company_column] = found
            missing.append(_missing(f"{code} is not null", found, table.company_column))
    heads: dict[str, list[MapPath]] = {}
    for path in paths:
        if path.is_lookup:
            heads.setdefault(path.head.name, []).append(path)
    for number, (head, parts) in enumerate(heads.items()):
        lookup = _Lookup(f"l{number}", parts, table, staged=staged)
        joins.append(lookup.join())
        columns[head] = lookup.id
        if parts[0].head.is_polymorphic:
            columns[parts[0].head.type_column] = lookup.type
        given = " and ".join(_names_a_row(part) for part in parts)
        missing.append(_missing(given, lookup.id, head))
    match, target = _match(table_map, table, columns, catalog, staged=staged)
    joins.append(match)
    return Resolution(
        joins="".join(joins),
        columns=columns,
        target=target,
        missing=missing,
        key_columns=frozenset(path.head.name for path, _ in key_rows(table_map, catalog) if path.is_lookup),
    )


def _missing(given: str, found: str, column: str) -> str:
    return f"case when {given} and {found} is null then {quote_literal(column)} end"


def _names_a_row(part: MapPath) -> str:
    """SQL that holds where a part of a natural key has a value: F&O's number without one is 0."""
    value = f"s.{quote_identifier(value_name(part))}"
    return f"{value} <> 0" if part.leaf.type.is_number else f"{value} is not null"


def _leads_to_company_specific(path: MapPath) -> bool:
    """Whether the lookup of a path finds its row within the record's company."""
    targets = [target for _, target in path.hops[:1]] + [target for target, _ in path.alternatives]
    return any(target.company_column for target in targets)


def _is_unique(table: Table, columns: set[str]) -> bool:
    """Whether a key of the table says that these columns identify one row."""
    return table.primary_id in columns or any(columns.issuperset(key.columns) for key in table.keys)


class _Lookup:
    """Finds the id of one lookup from all the parts of its natural key. `id` and `type` are SQL of what it found."""

    def __init__(self, alias: str, parts: list[MapPath], table: Table, *, staged: bool) -> None:
        self._alias = alias
        self._parts = parts
        self._table = table
        self._staged = staged
        self.id = f"{alias}.id"
        self.type = f"{alias}.type"

    def join(self) -> str:
        """The join; call it before reading `id`."""
        if self._parts[0].alternatives:
            return self._alternatives()
        target = self._parts[0].hops[0][1]
        identity = quote_identifier(target.primary_id)
        if not self._staged or not _is_unique(target, self._equated(target)):
            rows, conditions = self._rows(target, "x")
            return (
                f" left join lateral (select x.{identity} as id, {quote_literal(target.logical_name)}::text as type "
                f"from {rows} where {conditions} limit 1) {self._alias} on true"
            )
        rows, conditions = self._rows(target, self._alias)
        self.id = f"{self._alias}.{identity}"
        self.type = f"case when {self.id} is not null then {quote_literal(target.logical_name)}::text end"
        return f" left join {f'({rows})' if ' join ' in rows else rows} on {conditions}"

    def _equated(self, target: Table) -> set[str]:
        """The columns of the target that a row's values settle."""
        settled = {part.leaf.name for part in self._parts if len(part.hops) == 1}
        if self._company(target, "") and target.company_column:
            settled.add(target.company_column)
        following: dict[str, tuple[Table, set[str]]] = {}
        for part in self._parts:
            if len(part.hops) == 2:
                lookup, table = part.hops[1]
                following.setdefault(lookup.name, (table, set()))[1].add(part.leaf.name)
        return settled | {name for name, (table, leaves) in following.items() if _is_unique(table, leaves)}

    def _rows(self, target: Table, here: str) -> tuple[str, str]:
        """FROM and conditions that find the row as alias `here`; lookups on the way are joined."""
        rows, conditions = f"{sql_name(target)} {here}", []
        for number, part in enumerate(self._parts):
            last = here
            for depth, (lookup, following) in enumerate(part.hops[1:]):
                alias = f"{here}_{number}_{depth}"
                rows += (
                    f" join {sql_name(following)} {alias} on {alias}.{quote_identifier(following.primary_id)}"
                    f" = {last}.{quote_identifier(lookup.name)}"
                )
                last = alias
            value = f"s.{quote_identifier(value_name(part))}"
            conditions.append(same_text(f"{last}.{quote_identifier(part.leaf.name)}", value, part.leaf.postgres))
        return rows, " and ".join(conditions) + self._company(target, here)

    def _company(self, target: Table, alias: str) -> str:
        """A company-specific row is looked up in the record's own company, unless the key names one itself."""
        if target.company_column is None or self._table.logical_name == COMPANY_TABLE:
            return ""
        if any(part.is_company_code for part in self._parts):
            return ""
        return f" and {alias}.{quote_identifier(target.company_column)} = c.cdm_companyid"

    def _alternatives(self) -> str:
        """Several tables, tried in the order of the path."""
        first = self._parts[0]
        given = f"s.{quote_identifier(value_name(first))}"
        choices = []
        for rank, (target, leaf) in enumerate(first.alternatives):
            matches = same_text(f"x.{quote_identifier(leaf.name)}", given, leaf.postgres)
            choices.append(
                f"(select x.{quote_identifier(target.primary_id)} as id, "
                f"{quote_literal(target.logical_name)}::text as type, {rank} as rank from {sql_name(target)} x "
                f"where {matches}{self._company(target, 'x')} limit 1)"
            )
        union = " union all ".join(choices)
        return (
            f" left join lateral (select u.id, u.type from ({union}) u order by u.rank limit 1) {self._alias} on true"
        )


def _match(
    table_map: TableMap, table: Table, columns: Mapping[str, str], catalog: Catalog, *, staged: bool
) -> tuple[str, str]:
    """The join that finds the row itself by the integration key, and SQL of its id.

    Plain columns of the key are compared by value, lookups by the ids found before.
    """
    key = key_rows(table_map, catalog)
    conditions = []
    for path, _ in key:
        head = f"t.{quote_identifier(path.head.name)}"
        if path.is_lookup:
            conditions.append(f"{head} = {columns.get(path.head.name, 'c.cdm_companyid')}")
        else:
            conditions.append(same_text(head, f"s.{quote_identifier(value_name(path))}", path.leaf.postgres))
    wanted, identity = " and ".join(dict.fromkeys(conditions)), f"t.{quote_identifier(table.primary_id)}"
    if staged and _is_unique(table, {path.head.name for path, _ in key}):
        return f" left join {sql_name(table)} t on {wanted}", identity
    row = f"select {identity} as id from {sql_name(table)} t where {wanted} limit 1"
    if staged:
        return f" left join lateral ({row}) m on true", "m.id"
    return f" left join lateral ({row}) m on s.target is null", "coalesce(s.target, m.id)"
