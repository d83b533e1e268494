"""Addresses: postal addresses over time, their places with a party, and electronic addresses.

A party (DirPartyTable) has places (DirPartyLocation) that are locations (LogisticsLocation) with a postal address
(LogisticsPostalAddress), of which one version is valid at a time. Electronic addresses are the party's own. Among the
places of a party, and among its electronic addresses of each kind, exactly one is primary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Stage, Step
from isthmus.errors import Rejected
from isthmus.finops.data_sources import VALID_FROM, VALID_TO, table_sql_name
from isthmus.finops.values import NEVER, NO_VALUE
from isthmus.finops.writes import RowWrite, Writes
from isthmus.metadata.entity import FinopsTable
from isthmus.metadata.types import FieldType
from isthmus.query.quoting import quote_identifier

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

PRIMARY = "isprimary"
NO_INSTANT = NO_VALUE[FieldType.DATE_TIME]

PRIMARY_GROUPS: dict[str, tuple[str, ...]] = {
    "DirPartyLocation": ("party",),
    "LogisticsElectronicAddress": ("party", "type"),
}
"""Tables of whose rows one is primary: the columns that tell the groups apart."""

ROLES: dict[str, str] = {
    "isrolebusiness": "Business",
    "isroledelivery": "Delivery",
    "isrolehome": "Home",
    "isroleinvoice": "Invoice",
}
"""Flags of a party's place, and what its purpose, a list separated by `;`, calls them."""

ADDRESS_PARTS = (
    "street",
    "streetnumber",
    "buildingcompliment",
    "postbox",
    "districtname",
    "city",
    "state",
    "zipcode",
    "county",
    "countryregionid",
)


def register(app: FinopsApp) -> None:
    """Add the steps of every entity whose records are versions of postal addresses."""
    for sources in app.entities_over("LogisticsPostalAddress"):
        app.pipeline.register(
            Step(
                stage=Stage.PRE_VALIDATION,
                operation=Operation.CREATE,
                table=sources.entity.aot_name,
                handler=_default_valid_from,
                rank=10,
            )
        )


async def _default_valid_from(context: Context, message: Message) -> None:
    """A version that does not say from when it is valid, is from now on."""
    without = [row for row in message.rows if row.values.get(VALID_FROM, NO_INSTANT) == NO_INSTANT]
    if without:
        now = await _now(context)
        for row in without:
            row.values[VALID_FROM] = now


async def _now(context: Context) -> Any:
    """The database's own time: an address must be valid in the transaction that makes it."""
    return await context.transaction.value("select date_trunc('second', now())")


async def before_write_postal_address(context: Context, planned: Writes, rows: list[RowWrite]) -> None:
    """Give new versions a validity, end the version before them, and compose the address as text.

    Raises Rejected (`validity_reversed`) for a validity that ends before it begins.
    """
    new = [row for row in rows if row.is_new]
    if new:
        now = await _now(context)
        for row in new:
            if row.value(VALID_FROM) == NO_INSTANT:
                row.values[VALID_FROM] = now
        await _order_versions(context, planned, new)
    await planned.load(context.transaction, rows, ("location", *ADDRESS_PARTS, "address", VALID_FROM, VALID_TO))
    await _touch_parties(context, planned, [row.value("location") for row in rows if row.values])
    for row in rows:
        if row.value(VALID_TO) == NO_INSTANT:
            row.put(VALID_TO, NEVER)
        if row.value(VALID_TO) <= row.value(VALID_FROM):
            raise Rejected(
                f"The address would be valid until {row.value(VALID_TO):%Y-%m-%d %H:%M:%S}, before it begins to be "
                f"({row.value(VALID_FROM):%Y-%m-%d %H:%M:%S}). Give a later ValidTo.",
                code="validity_reversed",
                field="ValidTo",
            )
        if row.is_new or not row.values.keys().isdisjoint(ADDRESS_PARTS):
            row.put("address", formatted_address({part: row.value(part) for part in ADDRESS_PARTS}))


async def before_write_location(context: Context, planned: Writes, rows: list[RowWrite]) -> None:
    """A location is part of what its parties are."""
    await _touch_parties(context, planned, [row.recid for row in rows if row.values and not row.is_new])


async def _touch_parties(context: Context, planned: Writes, locations: list[int]) -> None:
    """Give the parties that have a place at these locations a new version: their records show the address."""
    if locations:
        sql = "select distinct party from finops.dirpartylocation where location = any($1::bigint[])"
        parties = await context.transaction.rows(sql, locations)
        planned.touch(planned.catalog.finops_tables["DirPartyTable"], [record["party"] for record in parties])


async def _order_versions(context: Context, planned: Writes, new: list[RowWrite]) -> None:
    """Let the version that stands end where a new one begins, and a new one end where a later one begins."""
    table = new[0].table
    sql = f"""select recid, location, validfrom, validto from {table_sql_name(table)}
              where location = any($1::bigint[]) order by recid for update"""  # noqa: S608  (definitions)
    standing = await context.transaction.rows(sql, [row.value("location") for row in new])
    for row in new:
        for version in standing:
            if version["location"] != row.value("location"):
                continue
            begins = row.value(VALID_FROM)
            if version["validfrom"] < begins < version["validto"]:
                earlier = planned.update(table, version["recid"])
                earlier.before.update(validfrom=version["validfrom"], validto=version["validto"])
                earlier.put(VALID_TO, begins)
            elif begins < version["validfrom"]:
                ends = row.value(VALID_TO)
                if ends == NO_INSTANT or ends > version["validfrom"]:
                    row.values[VALID_TO] = version["validfrom"]


def formatted_address(parts: dict[str, Any]) -> str:
    """An address as lines of text: street, then place, then country."""
    street = " ".join(filter(None, (parts["street"], parts["streetnumber"])))
    region = " ".join(filter(None, (parts["state"], parts["zipcode"])))
    place = ", ".join(filter(None, (parts["city"], region)))
    lines = (street, parts["buildingcompliment"], parts["postbox"], parts["districtname"], place, parts["county"])
    return "\n".join(filter(None, (*lines, parts["countryregionid"])))


async def before_write_party_location(context: Context, planned: Writes, rows: list[RowWrite]) -> None:
    """Keep the roles of a place and its purpose in step, and exactly one place of a party primary."""
    await planned.load(context.transaction, rows, ("party", "location", "purpose", PRIMARY, *ROLES))
    _touch_own(planned, rows)
    for row in rows:
        if row.is_new:
            row.values["ispostaladdress"] = 1
        _match_roles(row)
    await _keep_one_primary(context, planned, rows)


def _match_roles(row: RowWrite) -> None:
    """What was written of the two decides; a flag that was set counts beside the purpose given."""
    named = [name.strip() for name in row.value("purpose").split(";") if name.strip()]
    if "purpose" in row.values:
        given = {name.casefold() for name in named}
        for flag, role in ROLES.items():
            if role.casefold() in given:
                row.put(flag, 1)
            elif not row.values.get(flag):
                row.put(flag, 0)
    set_roles = [role for flag, role in ROLES.items() if row.value(flag)]
    others = [name for name in named if name.casefold() not in {role.casefold() for role in ROLES.values()}]
    kept = [name for name in named if name in others or name.casefold() in {role.casefold() for role in set_roles}]
    missing = [role for role in set_roles if role.casefold() not in {name.casefold() for name in kept}]
    if not row.values.keys().isdisjoint({"purpose", *ROLES}):
        row.put("purpose", ";".join([*kept, *missing]))


async def before_write_electronic_address(context: Context, planned: Writes, rows: list[RowWrite]) -> None:
    """Keep exactly one electronic address of a kind primary with a party."""
    await planned.load(context.transaction, rows, ("party", "type", PRIMARY))
    _touch_own(planned, rows)
    await _keep_one_primary(context, planned, rows)


def _touch_own(planned: Writes, rows: list[RowWrite]) -> None:
    parties = [row.value("party") for row in rows if row.values]
    planned.touch(planned.catalog.finops_tables["DirPartyTable"], parties)


async def _keep_one_primary(context: Context, planned: Writes, rows: list[RowWrite]) -> None:
    """The row that is made primary last takes over from the one that was; the first of a group is primary unasked."""
    touched = [row for row in rows if row.is_new or PRIMARY in row.values]
    if not touched:
        return
    table = touched[0].table
    columns = PRIMARY_GROUPS[table.name]
    names = ", ".join(map(quote_identifier, columns))
    sql = (
        f"select recid, {names} from {table_sql_name(table)} "  # noqa: S608  (definitions)
        "where party = any($1::bigint[]) and isprimary = 1 order by recid for update"
    )
    standing = await context.transaction.rows(sql, [row.value("party") for row in touched])
    current = {tuple(record[column] for column in columns): record["recid"] for record in standing}
    for row in touched:
        group = tuple(row.value(column) for column in columns)
        holder = current.get(group)
        if row.value(PRIMARY) and holder != row.recid:
            if holder is not None:
                former = planned.update(table, holder)
                former.before.setdefault(PRIMARY, 1)
                former.values[PRIMARY] = 0
            current[group] = row.recid
        elif not row.value(PRIMARY) and holder in (None, row.recid):
            row.values[PRIMARY] = 1
            current[group] = row.recid
        if not row.is_new and row.value(PRIMARY) == row.before.get(PRIMARY):
            row.values.pop(PRIMARY, None)


async def hand_over_primary(context: Context, planned: Writes, table: FinopsTable, recids: Sequence[int]) -> None:
    """Plan that the oldest remaining row of each group becomes primary when its primary row is deleted.

    Their parties get a new version in any case: they are without an address that they had.
    """
    columns = PRIMARY_GROUPS[table.name]
    parties = f"select distinct party from {table_sql_name(table)} where recid = any($1::bigint[])"  # noqa: S608
    owners = [record["party"] for record in await context.transaction.rows(parties, list(recids))]
    planned.touch(planned.catalog.finops_tables["DirPartyTable"], owners)
    same = " and ".join(f"t.{quote_identifier(column)} = d.{quote_identifier(column)}" for column in columns)
    name = table_sql_name(table)
    sql = f"""select min(t.recid) as recid from {name} d join {name} t on {same} and t.recid <> all($1::bigint[])
              where d.recid = any($1::bigint[]) and d.isprimary = 1 group by d.recid"""  # noqa: S608  (definitions)
    for record in await context.transaction.rows(sql, list(recids)):
        heir = planned.update(table, record["recid"])
        heir.before[PRIMARY] = 0
        heir.put(PRIMARY, 1)
