"""The names of accounts and contacts and of the parties they are."""

from __future__ import annotations

from typing import Any

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.dataverse.app import DataverseApp

ORGANIZATION, PERSON = 192350002, 192350001
"""Values of msdyn_party.msdyn_partytype."""

NAMES: dict[str, dict[str, str]] = {
    "account": {"name": "msdyn_organizationname"},
    "contact": {"firstname": "msdyn_firstname", "middlename": "msdyn_middlename", "lastname": "msdyn_lastname"},
}
"""Columns of a table that hold a name, and the column of the party each is kept in."""

PARTY_NAMES = frozenset(column for columns in NAMES.values() for column in columns.values())

_PARTIES = """
select msdyn_partyid as id, msdyn_organizationname, msdyn_firstname, msdyn_middlename, msdyn_lastname
from dataverse.msdyn_party where msdyn_partyid = any($1::uuid[])
"""
_OWNERS = {
    "account": """
        select accountid as id, msdyn_partyid as party, name
        from dataverse.account where msdyn_partyid = any($1::uuid[])
    """,
    "contact": """
        select contactid as id, msdyn_partyid as party, firstname, middlename, lastname
        from dataverse.contact where msdyn_partyid = any($1::uuid[])
    """,
}


class PartyNames:
    """Steps that keep the two in step."""

    def __init__(self, app: DataverseApp) -> None:
        self._app = app

    async def find_or_make_party(self, context: Context, message: Message) -> None:
        """A new account or contact takes the name of the party it names; one that names none gets its own.

        What comes through a table map has its party on the other half: while that is still to come, it has none.
        """
        orphans = await self._take_names(context, message)
        if orphans and message.through is None:
            await self._make_parties(context, message.table, orphans)

    async def take_name(self, context: Context, message: Message) -> None:
        """An account or contact that becomes another party's takes its name."""
        await self._take_names(context, message)

    async def _take_names(self, context: Context, message: Message) -> list[Row]:
        """Give rows the names of the parties they name, unless they are given one; the rows that name no party."""
        columns = NAMES[message.table]
        named = {row.values["msdyn_partyid"] for row in message.rows if row.values.get("msdyn_partyid")}
        found = await context.transaction.rows(_PARTIES, list(named)) if named else []
        parties = {record["id"]: record for record in found}
        orphans: list[Row] = []
        for row in message.rows:
            party = parties.get(row.values.get("msdyn_partyid"))
            if party is None:
                orphans.append(row)
                continue
            for column, source in columns.items():
                if row.values.get(column) is None and party[source] is not None:
                    row.values[column] = party[source]
        return orphans

    async def _make_parties(self, context: Context, table: str, rows: list[Row]) -> None:
        """One batch of parties; their numbers come from F&O's number sequence, in the same transaction."""
        columns = NAMES[table]
        parties = [
            Row(
                values={
                    "msdyn_partytype": ORGANIZATION if table == "account" else PERSON,
                    **{target: row.values.get(column) for column, target in columns.items()},
                }
            )
            for row in rows
        ]
        await self._app.execute(context, Message(operation=Operation.CREATE, table="msdyn_party", rows=parties))
        for row, party in zip(rows, parties, strict=True):
            row.values["msdyn_partyid"] = party.id

    async def rename_party(self, context: Context, message: Message) -> None:
        """The name of an account or contact is its party's name."""
        columns = NAMES[message.table]
        changed: dict[Any, dict[str, Any]] = {}
        for row in message.rows:
            party = (row.after or {}).get("msdyn_partyid")
            values = {target: row.values[column] for column, target in columns.items() if column in row.values}
            if party is not None and values:
                changed[party] = values
        if not changed:
            return
        rows = []
        for record in await context.transaction.rows(_PARTIES, list(changed)):
            values = {name: value for name, value in changed[record["id"]].items() if record[name] != value}
            if values:
                rows.append(Row(id=record["id"], values=values))
        await self._app.execute(context, Message(operation=Operation.UPDATE, table="msdyn_party", rows=rows))

    async def rename_owners(self, context: Context, message: Message) -> None:
        """Accounts and contacts show the new name of their party."""
        changed = {row.id: row.values for row in message.rows if not PARTY_NAMES.isdisjoint(row.values)}
        for table, columns in NAMES.items():
            rows = []
            for record in await context.transaction.rows(_OWNERS[table], list(changed)):
                new = changed[record["party"]]
                values = {
                    column: new[source]
                    for column, source in columns.items()
                    if source in new and new[source] != record[column]
                }
                if values:
                    rows.append(Row(id=record["id"], values=values))
            await self._app.execute(context, Message(operation=Operation.UPDATE, table=table, rows=rows))
