"""The telephone numbers, e-mail and web addresses that accounts and contacts show, and those of their parties."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.dataverse.app import DataverseApp

PHONE, EMAIL, URL, FAX = 192350001, 192350002, 192350003, 192350005
"""Values of msdyn_partyelectronicaddress.msdyn_type."""

SHOWN: dict[str, dict[str, int]] = {
    "account": {"telephone1": PHONE, "emailaddress1": EMAIL, "websiteurl": URL, "fax": FAX},
    "contact": {"telephone1": PHONE, "emailaddress1": EMAIL, "websiteurl": URL, "fax": FAX},
}
"""Columns of a table and the type of the party's primary address that each shows."""

COLUMNS = frozenset(column for columns in SHOWN.values() for column in columns)
ADDRESS_COLUMNS = frozenset({"msdyn_locator", "msdyn_isprimary", "msdyn_type", "msdyn_partyid"})

_PRIMARY = """
select distinct on (msdyn_partyid, msdyn_type) msdyn_partyelectronicaddressid as id, msdyn_partyid as party,
       msdyn_type as type, msdyn_locator as locator
from dataverse.msdyn_partyelectronicaddress
where msdyn_partyid = any($1::uuid[]) and msdyn_isprimary and statecode = 0
order by msdyn_partyid, msdyn_type, modifiedon desc
"""
_PARTIES = """
select distinct msdyn_partyid as party from dataverse.msdyn_partyelectronicaddress
where msdyn_partyelectronicaddressid = any($1::uuid[]) and msdyn_partyid is not null
"""
_OWNERS = {
    "account": """
        select accountid as id, msdyn_partyid as party, telephone1, emailaddress1, websiteurl, fax
        from dataverse.account where msdyn_partyid = any($1::uuid[])
    """,
    "contact": """
        select contactid as id, msdyn_partyid as party, telephone1, emailaddress1, websiteurl, fax
        from dataverse.contact where msdyn_partyid = any($1::uuid[])
    """,
}


class ElectronicAddressMirror:
    """Steps that keep the two in step."""

    def __init__(self, app: DataverseApp) -> None:
        self._app = app

    async def to_party(self, context: Context, message: Message) -> None:
        """A number or address written on an account or contact becomes its party's primary one of that type."""
        wanted: dict[tuple[UUID, int], str | None] = {}
        for row in message.rows:
            party = (row.after or {}).get("msdyn_partyid") or row.values.get("msdyn_partyid")
            if party is not None:
                wanted.update(
                    ((party, type_), row.values[column])
                    for column, type_ in SHOWN[message.table].items()
                    if column in row.values
                )
        if not wanted:
            return
        known = await self._primary(context, [party for party, _ in wanted])
        updates, creates = [], []
        for (party, type_), locator in wanted.items():
            address = known.get((party, type_))
            if address is not None and address["locator"] != locator:
                updates.append(Row(id=address["id"], values={"msdyn_locator": locator}))
            elif address is None and locator:
                values = {
                    "msdyn_partyid": party,
                    "msdyn_type": type_,
                    "msdyn_locator": locator,
                    "msdyn_isprimary": True,
                }
                creates.append(Row(values=values))
        await self._send(context, Operation.UPDATE, "msdyn_partyelectronicaddress", updates)
        await self._send(context, Operation.CREATE, "msdyn_partyelectronicaddress", creates)

    async def from_party(self, context: Context, message: Message) -> None:
        """A party's primary number or address shows on its accounts and contacts."""
        found = await context.transaction.rows(_PARTIES, [row.id for row in message.rows])
        parties = [record["party"] for record in found]
        if not parties:
            return
        known = await self._primary(context, parties)
        for table, columns in SHOWN.items():
            rows = []
            for record in await context.transaction.rows(_OWNERS[table], parties):
                values = {
                    column: known[record["party"], type_]["locator"]
                    for column, type_ in columns.items()
                    if (record["party"], type_) in known and known[record["party"], type_]["locator"] != record[column]
                }
                if values:
                    rows.append(Row(id=record["id"], values=values))
            await self._send(context, Operation.UPDATE, table, rows)

    async def _primary(self, context: Context, parties: list[UUID]) -> dict[tuple[UUID, int], Any]:
        records = await context.transaction.rows(_PRIMARY, parties)
        return {(record["party"], record["type"]): record for record in records}

    async def _send(self, context: Context, operation: Operation, table: str, rows: list[Row]) -> None:
        await self._app.execute(context, Message(operation=operation, table=table, rows=rows))
