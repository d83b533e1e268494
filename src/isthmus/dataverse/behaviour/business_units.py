"""Business units: each comes with a default team of its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row

if TYPE_CHECKING:
    from isthmus.dataverse.app import DataverseApp


OWNER_TEAM = 0
"""`teamtype` of teams that rows can belong to."""


async def give_default_teams(context: Context, message: Message) -> None:
    """Post-operation step of creating business units."""
    app: DataverseApp = context.app  # type: ignore[assignment]  # registered on this app only
    teams = [
        Row(
            values={"name": row.values.get("name"), "businessunitid": row.id, "isdefault": True, "teamtype": OWNER_TEAM}
        )
        for row in message.rows
    ]
    await app.execute(context, Message(operation=Operation.CREATE, table="team", rows=teams))
