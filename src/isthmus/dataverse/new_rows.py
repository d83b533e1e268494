"""SQL of what stands in the columns of new rows: what `messages.create` works out, for rows that never leave SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from isthmus.dataverse.behaviour.names import FULL_NAME, MAX_FULL_NAME, name_parts
from isthmus.dataverse.behaviour.owners import OWNER
from isthmus.dataverse.behaviour.states import STATE, STATUS, default_state, default_status
from isthmus.dataverse.behaviour.stored_values import literal
from isthmus.dataverse.messages.create import column_defaults
from isthmus.metadata.table import Table
from isthmus.query.quoting import quote_identifier

USER, NOW, OWNER_ID, OWNER_KIND, OWNER_UNIT = "$1::uuid", "$2::timestamptz", "$3::uuid", "$4::text", "$5::uuid"
"""Parameters of a statement that writes rows: who writes and when, and who owns what belongs to no company."""

PARAMETERS = f"parameters as (select {USER}, {NOW}, {OWNER_ID}, {OWNER_KIND}, {OWNER_UNIT})"
"""A WITH query that nobody reads: it tells PostgreSQL the types of parameters, also of those a table does not need."""

COMPANY_OWNERS = (
    "(select company.cdm_companyid as company, team.teamid as id, team.businessunitid as unit "
    "from dataverse.cdm_company company join dataverse.team team on team.teamid = company.cdm_defaultowningteam)"
)
"""The team that owns what dual-write brings into each company."""


def new_row(table: Table, given: Collection[str], filled: Collection[str]) -> dict[str, str]:
    """SQL of every column of a new row but its id, over the row `s` and the owner `o` of its company.

    `given` are the physical columns that rows give, `filled` those that have a value only where a step found one.
    """
    new = {name: f"s.{quote_identifier(name)}" for name in [*given, *filled]}
    for name, default in column_defaults(table).items():
        value = literal(table.column[name], default)
        if name not in new:
            new[name] = value
        elif name in filled:
            new[name] = f"coalesce({new[name]}, {value})"
    new.update(_states(table, new))
    new.update(_full_name(table, new))
    stamps = {"createdon": NOW, "modifiedon": NOW, "createdby": USER, "modifiedby": USER}
    new.update((name, value) for name, value in stamps.items() if name in table.column)
    if OWNER in table.column:
        new.update(_owner(table))
    return new


def _states(table: Table, new: Mapping[str, str]) -> dict[str, str]:
    """The state defaults to the first one, the status reason to its state's default."""
    state, status = table.column.get(STATE), table.column.get(STATUS)
    if state is None:
        return {}
    default = str(default_state(state))
    of_row = f"coalesce({new[STATE]}, {default})" if STATE in new else default
    if status is None:
        return {STATE: of_row}
    values = sorted({option.value for option in state.options} | {default_state(state)})
    reasons = {value: default_status(status, value) for value in values}
    whens = [f"when {value} then {reason}" for value, reason in reasons.items() if reason is not None]
    reason = f"case {of_row} {' '.join(whens)} end" if whens else "null::integer"
    return {STATE: of_row, STATUS: f"coalesce({new[STATUS]}, {reason})" if STATUS in new else reason}


def _full_name(table: Table, new: Mapping[str, str]) -> dict[str, str]:
    """A full name is made of its parts; one that is given counts where there are none."""
    parts = name_parts(table)
    if not parts or new.keys().isdisjoint((*parts, FULL_NAME)):
        return {}
    longest = table.column[FULL_NAME].max_length or MAX_FULL_NAME
    present = ", ".join(f"nullif({new[part]}, '')" for part in parts if part in new) or "null"
    composed = f"nullif(left(concat_ws(' ', {present}), {longest}), '')"
    return {FULL_NAME: f"coalesce({composed}, {new[FULL_NAME]})" if FULL_NAME in new else composed}


def _owner(table: Table) -> dict[str, str]:
    """The owning team of the row's company, or who owns what belongs to no company."""
    kind = f"case when o.id is not null then 'team' else {OWNER_KIND} end"
    owner = f"coalesce(o.id, {OWNER_ID})"
    type_column = table.column[OWNER].type_column
    owned = {
        OWNER: owner,
        type_column: kind,
        "owninguser": f"case when {kind} = 'systemuser' then {owner} end",
        "owningteam": f"case when {kind} = 'team' then {owner} end",
        "owningbusinessunit": f"case when o.id is not null then o.unit else {OWNER_UNIT} end",
    }
    return {name: sql for name, sql in owned.items() if name in table.column or name == type_column}
