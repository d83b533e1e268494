"""The addresses that accounts and contacts show, and the postal addresses of their parties."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from isthmus import clock
from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.dataverse.app import DataverseApp
from isthmus.finops.values import NEVER

ROLES = {"address1_": "Invoice", "address2_": "Delivery"}
"""Which purpose of a party's address each group of columns shows (published behaviour of the party model)."""

MIRRORED = {
    "line1": "msdyn_street",
    "city": "msdyn_city",
    "stateorprovince": "msdyn_state",
    "postalcode": "msdyn_zipcode",
    "country": "msdyn_countryregionid",
    "county": "msdyn_county",
    "postofficebox": "msdyn_postbox",
    "name": "msdyn_name",
}
"""Column of a group -> column of msdyn_postaladdress."""

ADDRESS_COLUMNS = frozenset(prefix + name for prefix in ROLES for name in MIRRORED)
POSTAL_COLUMNS = frozenset(MIRRORED.values()) | {"msdyn_postaladdresspurposenames", "msdyn_partyid"}

_ADDRESSES_OF_PARTY = """
select l.msdyn_partyid as party, l.msdyn_postaladdresspurposenames as purposes, a.msdyn_postaladdressid as id,
       a.msdyn_street, a.msdyn_city, a.msdyn_state, a.msdyn_zipcode, a.msdyn_countryregionid, a.msdyn_county,
       a.msdyn_postbox, a.msdyn_name
from dataverse.msdyn_partypostaladdress l
join dataverse.msdyn_postaladdress a on a.msdyn_postaladdresscollectionid = l.msdyn_postaladdresscollectionid
where l.msdyn_partyid = any($1::uuid[]) and l.statecode = 0
  and (a.msdyn_validto is null or a.msdyn_validto > now()) and (a.msdyn_validfrom is null or a.msdyn_validfrom <= now())
order by l.msdyn_isprimary desc nulls last, a.msdyn_validfrom desc
"""
_PARTIES_OF = {
    "msdyn_postaladdress": """
        select distinct l.msdyn_partyid as party from dataverse.msdyn_postaladdress a
        join dataverse.msdyn_partypostaladdress l
          on l.msdyn_postaladdresscollectionid = a.msdyn_postaladdresscollectionid
        where a.msdyn_postaladdressid = any($1::uuid[]) and l.msdyn_partyid is not null
    """,
    "msdyn_partypostaladdress": """
        select distinct msdyn_partyid as party from dataverse.msdyn_partypostaladdress
        where msdyn_partypostaladdressid = any($1::uuid[]) and msdyn_partyid is not null
    """,
}


class AddressMirror:
    """Steps that keep the two in step."""

    def __init__(self, app: DataverseApp) -> None:
        self._app = app

    async def to_party(self, context: Context, message: Message) -> None:
        """An address written on an account or contact becomes its party's address of that purpose."""
        wanted: dict[tuple[UUID, str], dict[str, Any]] = {}
        for row in message.rows:
            party = (row.after or {}).get("msdyn_partyid") or row.values.get("msdyn_partyid")
            for prefix, purpose in ROLES.items():
                values = {
                    target: row.values[prefix + name]
                    for name, target in MIRRORED.items()
                    if prefix + name in row.values
                }
                if party is not None and values:
                    wanted.setdefault((party, purpose), {}).update(values)
        if not wanted:
            return
        known = await self._addresses(context, [party for party, _ in wanted])
        updates: dict[UUID, Row] = {}
        missing: dict[tuple[UUID, str], dict[str, Any]] = {}
        for place, values in wanted.items():
            address = known.get(place)
            if address is not None:
                changed = {name: value for name, value in values.items() if address[name] != value}
                if changed:
                    updates.setdefault(address["id"], Row(id=address["id"])).values.update(changed)
            elif any(value is not None for value in values.values()):
                missing[place] = values
        await self._make_addresses(context, missing)
        await self._send(context, Operation.UPDATE, "msdyn_postaladdress", list(updates.values()))

    async def from_party(self, context: Context, message: Message) -> None:
        """A party's address of a mirrored purpose shows on its accounts and contacts."""
        ids = [row.id for row in message.rows]
        parties = [record["party"] for record in await context.transaction.rows(_PARTIES_OF[message.table], ids)]
        if not parties:
            return
        known = await self._addresses(context, parties)
        for table in ("account", "contact"):
            rows = []
            for record in await self._owners(context, table, parties):
                values = {}
                for prefix, purpose in ROLES.items():
                    address = known.get((record["party"], purpose))
                    if address is not None:
                        values.update({prefix + name: address[source] for name, source in MIRRORED.items()})
                values = {name: value for name, value in values.items() if record[name] != value}
                if values:
                    rows.append(Row(id=record["id"], values=values))
            await self._send(context, Operation.UPDATE, table, rows)

    async def _addresses(self, context: Context, parties: list[UUID]) -> dict[tuple[UUID, str], Any]:
        """The address of each purpose of each party; the primary, then the newest, where there are several."""
        found: dict[tuple[UUID, str], Any] = {}
        for record in await context.transaction.rows(_ADDRESSES_OF_PARTY, parties):
            for purpose in (record["purposes"] or "").split(";"):
                found.setdefault((record["party"], purpose.strip()), record)
        return found

    async def _owners(self, context: Context, table: str, parties: list[UUID]) -> list[Any]:
        columns = ", ".join(sorted(ADDRESS_COLUMNS))
        return await context.transaction.rows(
            f"select {table}id as id, msdyn_partyid as party, {columns} from dataverse.{table} "  # noqa: S608  (constants)
            "where msdyn_partyid = any($1::uuid[])",
            parties,
        )

    async def _make_addresses(self, context: Context, wanted: dict[tuple[UUID, str], dict[str, Any]]) -> None:
        """For each party and purpose a location of the party's own with one address, in three messages.

        Their numbers come from F&O, in the same transaction.
        """
        locations = [Row(values={"msdyn_description": purpose}) for _, purpose in wanted]
        await self._send(context, Operation.CREATE, "msdyn_postaladdresscollection", locations)
        begins = clock.now().replace(microsecond=0)
        addresses, places = [], []
        for ((party, purpose), values), location in zip(wanted.items(), locations, strict=True):
            address = {
                "msdyn_name": purpose,
                **values,
                "msdyn_postaladdresscollectionid": location.id,
                "msdyn_validfrom": begins,
                "msdyn_validto": NEVER,
            }
            place = {
                "msdyn_partyid": party,
                "msdyn_postaladdresscollectionid": location.id,
                "msdyn_postaladdresspurposenames": purpose,
                "msdyn_islocationowner": True,
            }
            addresses.append(Row(values=address))
            places.append(Row(values=place))
        await self._send(context, Operation.CREATE, "msdyn_postaladdress", addresses)
        await self._send(context, Operation.CREATE, "msdyn_partypostaladdress", places)

    async def _send(self, context: Context, operation: Operation, table: str, rows: list[Row]) -> None:
        await self._app.execute(context, Message(operation=operation, table=table, rows=rows))
