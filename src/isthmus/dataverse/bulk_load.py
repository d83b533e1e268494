"""Set-based writes: creates and updates of many rows of one table in one statement, for data that is in the database.

    load = BulkLoad(app, table, columns)
    outcome = await load.run(context, load.sql(source), arguments)

What stands afterwards is what `messages.create` and `messages.update` would have written for dual-write. Rows that only
Python can judge are left over and named, for the caller to send through the pipeline; of refused ones the columns are
told, and `values.check_value` has the words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import msgspec

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.pipeline import Stage, Step
from isthmus.clock import now
from isthmus.dataverse.app import WATCHED, DataverseApp
from isthmus.dataverse.behaviour.names import FULL_NAME, name_parts
from isthmus.dataverse.behaviour.owners import OWNER
from isthmus.dataverse.behaviour.states import STATE, STATUS
from isthmus.dataverse.behaviour.stored_values import UNSUPPORTED, is_rounded, refused_sql, stored_sql
from isthmus.dataverse.messages.create import required_columns
from isthmus.dataverse.new_rows import COMPANY_OWNERS, NOW, PARAMETERS, USER, new_row
from isthmus.dataverse.schema import sql_name
from isthmus.dataverse.system_users import Owner
from isthmus.metadata.table import Table
from isthmus.query.quoting import quote_identifier, quote_literal

FIRST_PARAMETER = 6
"""Number of the first parameter of a source; those before are the load's own."""


class Left(msgspec.Struct, frozen=True):
    """A row that the load did not finish, by the id that the source gave it.

    `target` is the row it stands in, None when nothing was written. `missing` are lookups that found nothing and were
    left out, `refused` the columns whose values are not taken. `by_pipeline`: only Python can write it.
    """

    id: int | UUID
    target: UUID | None
    missing: list[str]
    refused: list[str]
    by_pipeline: bool


class Loaded(msgspec.Struct, frozen=True):
    """What one statement did. Rows that stood already as they were given are `unchanged` and not written."""

    inserted: int
    updated: int
    unchanged: int
    left: list[Left]


_BY_INDEX = (
    "set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off; "
    "set local plan_cache_mode = auto"
)
"""For a few thousand rows a lookup by index is as fast as any other way, and it stays so however large tables grow.
PostgreSQL by itself, which knows nothing of what was written this minute, would read whole tables. It makes a plan anew
for the first chunks, though: in one made for an empty table all indexes look alike, the wrong ones too.
"""

_ONCE = "offset 0"
"""Keeps PostgreSQL from working out a column of a subquery again at every place that it is used."""

_AS_BEFORE = (
    "set local enable_hashjoin to default; set local enable_mergejoin to default; set local enable_seqscan to default; "
    "set local plan_cache_mode = force_generic_plan"
)

_LEFT = msgspec.json.Decoder(list[Left])


class BulkLoad:
    """Writes rows that give these columns: physical names, read-only ones left out as always."""

    def __init__(self, app: DataverseApp, table: Table, columns: Collection[str]) -> None:
        self._app = app
        self._table = table
        self._columns = [c for c in table.columns if c.name in columns and c.is_stored and not c.read_only]
        self._given: list[str] = []
        for column in self._columns:
            self._given += [column.name, column.type_column] if column.is_polymorphic else [column.name]
        self._steps = [step for step in self._steps_of(Operation.CREATE) if not step.for_callers]
        self._set_based = [step.set_based for step in self._steps if step.set_based is not None]
        fills = {name: sql for step in self._set_based for name, sql in step.fills.items()}
        self._fills = {name: sql for name, sql in fills.items() if name not in self._given}
        self._overrides = {name: sql for name, sql in fills.items() if name in self._given}
        self._new = new_row(table, self._given, self._fills)

    def _steps_of(self, operation: Operation) -> list[Step]:
        return [
            step for stage in Stage for step in self._app.pipeline.steps(stage, operation, self._table.logical_name)
        ]

    @property
    def is_eligible(self) -> bool:
        """Whether rows can be created without calling a plug-in step. Updates that need one are left over singly."""
        own_rules = {self._table.primary_id, OWNER, FULL_NAME, "overriddencreatedon"}
        if self._table.logical_name in WATCHED or own_rules.intersection(self._given):
            return False
        if any(column.type in UNSUPPORTED for column in self._columns):
            return False
        if any(not step.reads.issubset(self._given) for step in self._set_based):
            return False
        return all(
            step.set_based is not None or (step.columns and step.columns.isdisjoint(self._new)) for step in self._steps
        )

    async def run(self, context: Context, sql: str, arguments: Sequence[object]) -> Loaded:
        """Run a statement of `sql` in the context's transaction; `arguments` are the source's own.

        Raises the driver's IntegrityConstraintViolationError when a row that others point at went meanwhile, or when an
        update runs into a key; the transaction must be rolled back then, to a savepoint at least.
        """
        fetch = context.transaction.rows
        user = await self._app.users.of(fetch, context.principal)
        owner = await self._app.users.company_team(fetch, None) or Owner(user.id, "systemuser", user.business_unit)
        moment = now().replace(microsecond=0)
        await context.transaction.run(_BY_INDEX)
        (record,) = await fetch(sql, user.id, moment, owner.id, owner.kind, owner.business_unit, *arguments)
        await context.transaction.run(_AS_BEFORE)
        left = _LEFT.decode(record["left_over"])
        not_written = sum(row.target is None for row in left)
        return Loaded(
            inserted=record["inserted"],
            updated=record["updated"],
            unchanged=record["rows"] - record["inserted"] - record["updated"] - not_written,
            left=left,
        )

    def sql(self, source: str) -> str:
        """The statement for the rows of a query.

        It yields `_id`, `_target` (the row to update, null for a new one), `_missing` (text[]: lookups that found
        nothing), `_unfit` (rows not to be written at all) and the given columns, with the type columns of polymorphic
        lookups. Its own parameters begin at `FIRST_PARAMETER`.
        """
        table, key = sql_name(self._table), quote_identifier(self._table.primary_id)
        new = {self._table.primary_id: "s._new", **self._new}
        locks = self._locks()
        fit = " and ".join(["not s._unfit and not s._by_pipeline and s._refused = '{}'", *locks.values()])
        company = self._table.company_column
        company = f"s.{quote_identifier(company)}" if company in self._given and company else "null::uuid"
        owners = f" left join {COMPANY_OWNERS} o on o.company = {company}" if OWNER in self._table.column else ""
        held = "".join(f", {query}" for query in locks)
        names, values = ", ".join(map(quote_identifier, new)), ", ".join(new.values())
        return f"""with {PARAMETERS}, checked as materialized ({self._checked(source)}){held},
inserted as (
    insert into {table} ({names}) select {values} from checked s{owners}
    where s._target is null and {fit} on conflict do nothing returning {key} as id
), updated as (
    update {table} t set {self._changes()} from checked s
    where t.{key} = s._target and s._changed and {fit} returning t.{key} as id
), judged as (
    select s.*, {fit} and (s._target is not null or s._new in (select id from inserted)) as _stands from checked s
)
select (select count(*) from inserted) as inserted, (select count(*) from updated) as updated,
    (select count(*) from checked) as rows,
    (select coalesce(json_agg(json_build_object(
        'id', s._id, 'target', case when s._stands then coalesce(s._target, s._new) end, 'missing', s._missing,
        'refused', s._refused, 'by_pipeline', not (s._stands or s._unfit or s._refused <> '{{}}'))), '[]')::text
     from judged s where not s._stands or s._missing <> '{{}}') as left_over"""

    # Judging rows ---------------------------------------------------------------------------------------------------

    def _checked(self, source: str) -> str:
        """Each row as it is to be stored, and what is to become of it."""
        table, key = sql_name(self._table), quote_identifier(self._table.primary_id)
        values = {name: f"s.{quote_identifier(name)}" for name in self._given}
        for name, fill in self._fills.items():
            values[name] = f"case when s._target is null then {fill} end"
        selected = ", ".join(f"{sql} as {quote_identifier(name)}" for name, sql in values.items())
        joins = "".join(step.joins for step in self._set_based)
        return f"""select s._id, s._target, s._missing, s._unfit, {selected},
    case when s._target is null then isthmus.new_row_id() end as _new,
    s._refused || {self._left_empty(values)} as _refused, s._rounded or {self._needs_python()} as _by_pipeline,
    {self._differs(self._given)} as _changed
from ({self._stored(source)} {_ONCE}) s left join {table} t on t.{key} = s._target{joins}"""

    def _stored(self, source: str) -> str:
        """The rows of the source with their values in stored form; a lookup that found nothing keeps what stands."""
        table, key = sql_name(self._table), quote_identifier(self._table.primary_id)
        stored, refused, rounded = [], [], []
        for column in self._columns:
            if column.type.is_lookup:
                missing = f"{quote_literal(column.name)} = any(r._missing)"
                for name in (column.name, column.type_column) if column.is_polymorphic else (column.name,):
                    quoted = quote_identifier(name)
                    stored.append(f"case when {missing} then t.{quoted} else r.{quoted} end as {quoted}")
                continue
            quoted = quote_identifier(column.name)
            stored.append(f"{stored_sql(column, f'r.{quoted}')} as {quoted}")
            if condition := refused_sql(column, f"r.{quoted}"):
                refused.append(f"case when {condition} then {quote_literal(column.name)} end")
            if is_rounded(column):
                rounded.append(f"r.{quoted} is distinct from {stored_sql(column, f'r.{quoted}')}")
        return (
            f"select r._id, r._target, r._missing, r._unfit, {', '.join(stored)}, "
            f"array_remove(array[{', '.join(refused)}]::text[], null) as _refused, "
            f"({' or '.join(rounded) or 'false'}) as _rounded "
            f"from ({source} {_ONCE}) r left join {table} t on t.{key} = r._target"
        )

    def _left_empty(self, values: Mapping[str, str]) -> str:
        """SQL of the required columns that a new row has no value for."""
        whens = []
        for name in required_columns(self._table):
            value = values.get(name) or self._new.get(name, "null")
            if name != self._table.primary_id:
                whens.append(f"case when s._target is null and {value} is null then {quote_literal(name)} end")
        return f"array_remove(array[{', '.join(whens)}]::text[], null)"

    def _needs_python(self) -> str:
        """SQL of a condition: a step, or a rule that is said in Python only, concerns the row."""
        given = set(self._given)
        watched = given & {STATE, STATUS, *name_parts(self._table)}
        new = [step.needs_handler for step in self._set_based]
        new += [f"s.{quote_identifier(n)} is null and {sql} is not null" for n, sql in self._overrides.items()]
        new += [f"s.{quote_identifier(name)} is null" for name in given & {STATE, STATUS}]
        status = self._table.column.get(STATUS)
        if given & {STATE, STATUS} and status:
            pairs = ", ".join(f"({option.state}, {option.value})" for option in status.options)
            new.append(f"({self._new[STATE]}, {self._new[STATUS]}) not in ({pairs})")
        conditions = [f"s._target is null and {condition}" for condition in new]
        for step in self._steps_of(Operation.UPDATE):
            if not step.for_callers and step.set_based is None:
                watched |= step.columns & given if step.columns else given
        company = self._table.company_column
        if company in given and company:
            conditions.append(f"t.{quote_identifier(company)} <> s.{quote_identifier(company)}")
        if watched:
            conditions.append(f"s._target is not null and {self._differs(sorted(watched))}")
        return " or ".join(f"coalesce({condition}, false)" for condition in conditions) or "false"

    @staticmethod
    def _differs(names: Collection[str]) -> str:
        """SQL of a condition: what stands in one of these columns is not what the row gives."""
        quoted = [quote_identifier(name) for name in names]
        stands, given = (", ".join(f"{alias}.{name}" for name in quoted) for alias in ("t", "s"))
        return f"(({stands}) is distinct from ({given}))"

    def _locks(self) -> dict[str, str]:
        """WITH queries that lock the rows polymorphic lookups lead to, with a condition on `s`: its row was there.

        Foreign keys do the same for other lookups.
        """
        locks: dict[str, str] = {}
        for column in self._columns:
            targets = [self._app.catalog.tables.get(name) for name in column.targets if column.is_polymorphic]
            lookup, kind = f"s.{quote_identifier(column.name)}", f"s.{quote_identifier(column.type_column)}"
            for target in filter(None, targets):
                name, key = f"held_{len(locks)}", f"x.{quote_identifier(target.primary_id)}"
                leads_there = f"{kind} = {quote_literal(target.logical_name)}"
                wanted = f"select {lookup} from checked s where {leads_there}"
                query = f"select {key} as id from {sql_name(target)} x where {key} in ({wanted}) for key share"
                held = f"(not coalesce({leads_there}, false) or {lookup} in (select id from {name}))"
                locks[f"{name} as materialized ({query})"] = held
        return locks

    def _changes(self) -> str:
        """The assignments of an update."""
        changes = {name: f"s.{quote_identifier(name)}" for name in self._given}
        stamps = {"modifiedon": NOW, "modifiedby": USER, "versionnumber": "nextval('isthmus.row_version')"}
        changes.update((name, value) for name, value in stamps.items() if name in self._table.column)
        return ", ".join(f"{quote_identifier(name)} = {value}" for name, value in changes.items())
