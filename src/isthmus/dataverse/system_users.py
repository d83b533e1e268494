"""System users: who a caller is in this half, and which business unit users and teams belong to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID

import msgspec

from isthmus.apps.principal import Principal
from isthmus.clock import monotonic
from isthmus.errors import Rejected

KEPT_SECONDS = 60.0
"""How long a user, team or company read from the database is taken for unchanged."""

FIND_USER = """
    select systemuserid, businessunitid, coalesce(isdisabled, false) as isdisabled from dataverse.systemuser
    where azureactivedirectoryobjectid = $1 or applicationid = $1
    order by azureactivedirectoryobjectid = $1 desc limit 1
"""

FIND_NAMES = """
    select p.id, u.fullname from unnest($1::text[]) p(id) join dataverse.systemuser u
    on p.id in (u.azureactivedirectoryobjectid::text, u.applicationid::text) where u.fullname is not null
"""

FIND_OWNERS = """
    select systemuserid as id, 'systemuser' as kind, businessunitid from dataverse.systemuser
    where systemuserid = any($1::uuid[])
    union all
    select teamid, 'team', businessunitid from dataverse.team where teamid = any($1::uuid[])
"""

FIND_COMPANY_TEAM = """
    select team.teamid as id, team.businessunitid from dataverse.cdm_company company
    join dataverse.team team on team.teamid = company.cdm_defaultowningteam
    where company.cdm_companyid = $1
"""

FIND_ROOT_TEAM = """
    select team.teamid as id, team.businessunitid from dataverse.team team
    join dataverse.businessunit unit on unit.businessunitid = team.businessunitid
    where unit.parentbusinessunitid is null and team.isdefault limit 1
"""


Fetch = Callable[..., Awaitable[list[Any]]]
"""Where to read from: `rows` of a transaction or `fetch` of a pool."""


async def names_of(fetch: Fetch, object_ids: Iterable[str]) -> dict[str, str]:
    """The full names of the system users among these callers."""
    return {row["id"]: row["fullname"] for row in await fetch(FIND_NAMES, list(object_ids))}


class SystemUser(msgspec.Struct, frozen=True):
    """The row of `systemuser` that stands for a caller."""

    id: UUID
    business_unit: UUID


class Owner(msgspec.Struct, frozen=True):
    """A user or a team that rows can belong to; `kind` is its table."""

    id: UUID
    kind: str
    business_unit: UUID | None


class SystemUsers:
    """Callers and owners by their ids, read when first asked for and kept for a minute.

    What is being read while `forget` is called goes into the dictionary of before, which nobody looks into any more.
    """

    def __init__(self) -> None:
        self._users: dict[str, tuple[float, SystemUser]] = {}
        self._owners: dict[UUID, tuple[float, Owner]] = {}
        self._company_teams: dict[UUID | None, tuple[float, Owner | None]] = {}

    async def of(self, fetch: Fetch, principal: Principal) -> SystemUser:
        """The system user of a caller; Rejected (`user_not_member`, `user_disabled`) when it may not come in."""
        users = self._users
        kept = users.get(principal.object_id)
        if kept is not None and kept[0] > monotonic():
            return kept[1]
        object_id = _as_uuid(principal.object_id)
        found = await fetch(FIND_USER, object_id) if object_id else []
        if not found:
            raise Rejected(
                f"The user is not a member of the organization: no system user of this environment stands for "
                f"{principal.kind} '{principal.name}' ({principal.object_id}). Add one to table systemuser.",
                code="user_not_member",
                user=principal.name,
            )
        if found[0]["isdisabled"]:
            raise Rejected(
                f"The system user of '{principal.name}' is disabled. Enable it, or come as somebody else.",
                code="user_disabled",
                user=principal.name,
            )
        user = SystemUser(found[0]["systemuserid"], found[0]["businessunitid"])
        users[principal.object_id] = (monotonic() + KEPT_SECONDS, user)
        return user

    async def owners(self, fetch: Fetch, ids: Iterable[UUID]) -> dict[UUID, Owner]:
        """The owners with these ids; those that do not exist are left out."""
        now, owners = monotonic(), self._owners
        found: dict[UUID, Owner] = {}
        missing: list[UUID] = []
        for owner_id in set(ids):
            kept = owners.get(owner_id)
            if kept is not None and kept[0] > now:
                found[owner_id] = kept[1]
            else:
                missing.append(owner_id)
        if missing:
            for row in await fetch(FIND_OWNERS, missing):
                owner = Owner(row["id"], row["kind"], row["businessunitid"])
                found[owner.id] = owner
                owners[owner.id] = (now + KEPT_SECONDS, owner)
        return found

    async def company_team(self, fetch: Fetch, company: UUID | None) -> Owner | None:
        """The team that owns the rows of a company, or global rows (None), that dual-write creates."""
        teams = self._company_teams
        kept = teams.get(company)
        if kept is not None and kept[0] > monotonic():
            return kept[1]
        found = await (fetch(FIND_ROOT_TEAM) if company is None else fetch(FIND_COMPANY_TEAM, company))
        team = Owner(found[0]["id"], "team", found[0]["businessunitid"]) if found else None
        if team is not None:
            teams[company] = (monotonic() + KEPT_SECONDS, team)
        return team

    def forget(self) -> None:
        """Read everything anew: users, teams or companies were written."""
        self._users, self._owners, self._company_teams = {}, {}, {}


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
