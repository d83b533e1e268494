"""Companies: each has a business unit and a team that owns what dual-write brings in, and a row keeps its company.

Source: dual-write's company concept - the team is `<company code> DW`, of a business unit named like the company; the
lookup to the company can't be changed once a row is saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.dataverse.behaviour.business_units import OWNER_TEAM
from isthmus.errors import Rejected
from isthmus.ids import new_row_id
from isthmus.metadata.table import Table

if TYPE_CHECKING:
    from isthmus.dataverse.app import DataverseApp

COMPANY = "cdm_company"
OWNING_TEAM = "cdm_defaultowningteam"


async def give_owning_teams(context: Context, message: Message) -> None:
    """Pre-operation step of creating companies: a business unit and an owning team for each that names no team."""
    app: DataverseApp = context.app  # type: ignore[assignment]  # registered on this app only
    new = [row for row in message.rows if row.values.get(OWNING_TEAM) is None]
    if not new:
        return
    root = await context.transaction.value(
        "select businessunitid from dataverse.businessunit where parentbusinessunitid is null limit 1"
    )
    units, teams = [], []
    for row in new:
        code = row.values.get("cdm_companycode") or row.values.get("cdm_name") or "company"
        unit = Row(id=new_row_id(), values={"name": code, "parentbusinessunitid": root})
        team = Row(id=new_row_id(), values={"name": f"{code} DW", "businessunitid": unit.id, "teamtype": OWNER_TEAM})
        units.append(unit)
        teams.append(team)
        row.values[OWNING_TEAM] = team.id
    await app.execute(context, Message(operation=Operation.CREATE, table="businessunit", rows=units))
    await app.execute(context, Message(operation=Operation.CREATE, table="team", rows=teams))


def keep_company(table: Table, row: Row) -> None:
    """Refuse to move a saved row to another company."""
    name = table.company_column
    if name is None or name not in row.values or row.before is None:
        return
    if row.before[name] is not None and row.values[name] != row.before[name]:
        raise Rejected(
            f"Column '{name}' of table '{table.logical_name}' is read-only once the row is saved: row {row.id} belongs "
            "to its company. Create the row anew in the other company.",
            code="company_read_only",
            table=table.logical_name,
            column=name,
        )
