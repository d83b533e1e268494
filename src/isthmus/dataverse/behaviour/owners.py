"""Owners: every row of a user-owned table belongs to a user or a team, and with it to a business unit."""

from __future__ import annotations

from uuid import UUID

from isthmus.apps.message import Row
from isthmus.dataverse.behaviour.lookups import missing_target
from isthmus.dataverse.system_users import Fetch, Owner, SystemUser, SystemUsers
from isthmus.metadata.table import Table

OWNER = "ownerid"


async def own_new_rows(
    table: Table, rows: list[Row], users: SystemUsers, fetch: Fetch, caller: SystemUser, *, by_dual_write: bool
) -> None:
    """Give each new row an owner: the one given, the caller, or for dual-write the owning team of its company."""
    if OWNER not in table.column:
        return
    given = await users.owners(fetch, [row.values[OWNER] for row in rows if row.values.get(OWNER)])
    for row in rows:
        owner_id: UUID | None = row.values.get(OWNER)
        owner: Owner | None
        if owner_id is not None:
            owner = _existing(table, given, owner_id)
        elif by_dual_write:
            company = row.values.get(table.company_column) if table.company_column else None
            owner = await users.company_team(fetch, company) or await users.company_team(fetch, None)
        else:
            owner = None
        _set_owner(table, row, owner or Owner(caller.id, "systemuser", caller.business_unit))


async def reassign_rows(table: Table, rows: list[Row], users: SystemUsers, fetch: Fetch) -> None:
    """Follow a change of `ownerid` in the columns that are worked out from it; a row can't be without owner."""
    if OWNER not in table.column:
        return
    given = await users.owners(fetch, [row.values[OWNER] for row in rows if row.values.get(OWNER)])
    for row in rows:
        if OWNER in row.values:
            owner_id = row.values.pop(OWNER)
            if owner_id is not None:
                _set_owner(table, row, _existing(table, given, owner_id))


def _existing(table: Table, owners: dict[UUID, Owner], owner_id: UUID) -> Owner:
    owner = owners.get(owner_id)
    if owner is None:
        raise missing_target(table, table.column[OWNER], "systemuser or team", owner_id)
    return owner


def _set_owner(table: Table, row: Row, owner: Owner) -> None:
    is_team = owner.kind == "team"
    worked_out = {
        OWNER: owner.id,
        table.column[OWNER].type_column: owner.kind,
        "owninguser": None if is_team else owner.id,
        "owningteam": owner.id if is_team else None,
        "owningbusinessunit": owner.business_unit,
    }
    for name, value in worked_out.items():
        if name in table.column or name == table.column[OWNER].type_column:
            row.values[name] = value
