"""Parties: the persons and organizations that customers, vendors, workers and legal entities are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Stage, Step
from isthmus.errors import Rejected
from isthmus.finops.data_sources import DataSources
from isthmus.finops.writes import RowWrite, Writes

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

ORGANIZATION, PERSON, LEGAL_ENTITY, OPERATING_UNIT = "Organization", "Person", "LegalEntity", "OperatingUnit"
PARTY_TYPES = {name.casefold(): name for name in (ORGANIZATION, PERSON, LEGAL_ENTITY, OPERATING_UNIT, "Team")}
"""Types of party as the wire shows them, by lower-case name."""

TYPE_OF_ROOT = {
    "CompanyInfo": LEGAL_ENTITY,
    "OMOperatingUnit": OPERATING_UNIT,
    "HcmWorker": PERSON,
    "ContactPerson": PERSON,
}
"""Party type of new records of entities over this table; that of others follows from the names given."""

NAME_PARTS = ("firstname", "middlename", "lastnameprefix", "lastname")
MAX_NAME_LENGTH = 100
"""Characters of DirPartyTable.Name; the name of a person that is made of longer parts is cut."""
MAX_ALIAS_LENGTH = 20
"""Characters of DirPartyTable.NameAlias."""
DEFAULT_LANGUAGE = "en-us"


async def before_write_party(context: Context, planned: Writes, rows: list[RowWrite]) -> None:
    """Complete a party's type, names and language.

    Raises Rejected (`party_type_not_found`, `party_type_not_editable`).
    """
    await planned.load(context.transaction, rows, ("partytype", "name", *NAME_PARTS))
    for row in rows:
        _check_type(row)
        composed = " ".join(filter(None, (row.value(part) for part in NAME_PARTS)))
        renamed = row.is_new or not row.values.keys().isdisjoint(NAME_PARTS)
        if row.value("partytype") == PERSON and renamed and composed:
            row.put("name", composed[:MAX_NAME_LENGTH].rstrip())
        if row.is_new:
            if not row.value("namealias"):
                row.put("namealias", row.value("name")[:MAX_ALIAS_LENGTH].rstrip())
            if not row.value("languageid"):
                row.put("languageid", DEFAULT_LANGUAGE)


def _check_type(row: RowWrite) -> None:
    if row.is_new and not row.value("partytype"):
        is_person = not row.value("name") and any(row.value(part) for part in NAME_PARTS)
        row.put("partytype", PERSON if is_person else ORGANIZATION)
    if "partytype" not in row.values:
        return
    given, stands = row.values["partytype"], row.before.get("partytype", "")
    known = PARTY_TYPES.get(given.casefold())
    if known is None:
        raise Rejected(
            f"'{given}' is no type of party. Types are: {', '.join(PARTY_TYPES.values())}.",
            code="party_type_not_found",
            field="PartyType",
            value=given,
        )
    if stands and stands != known:
        raise Rejected(
            f"A party that is {stands} can't become {known}: the type of a party is set when it is created.",
            code="party_type_not_editable",
            field="PartyType",
            value=given,
        )
    row.values["partytype"] = known
    if row.asked.get("partytype", "").casefold() == known.casefold():
        row.asked["partytype"] = known
    if stands == known:
        del row.values["partytype"]


def register(app: FinopsApp) -> None:
    """Add the steps of every entity whose records are parties."""
    for root in TYPE_OF_ROOT:
        for sources in app.entities_over(root):
            app.pipeline.register(
                Step(
                    stage=Stage.PRE_VALIDATION,
                    operation=Operation.CREATE,
                    table=sources.entity.aot_name,
                    handler=partial(_default_party_type, sources, TYPE_OF_ROOT[root]),
                    rank=10,
                )
            )


async def _default_party_type(sources: DataSources, default: str, context: Context, message: Message) -> None:
    """Give the party of a new record the type its root table stands for, unless it names a party that is there."""
    party_type = sources.field_of("DirPartyTable", "partytype")
    if party_type is None:
        return
    number = sources.field_of("DirPartyTable", "partynumber")
    for row in message.rows:
        if not row.values.get(party_type) and not (number and row.values.get(number)):
            row.values[party_type] = default
