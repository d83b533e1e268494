"""Parties: the persons and organizations that customers, vendors, workers and legal entities are."""

from __future__ import annotations

from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.errors import Rejected
from isthmus.finops.data_sources import DataSources
from isthmus.finops.writes import RowWrite, Writes

ORGANIZATION, PERSON, LEGAL_ENTITY, OPERATING_UNIT = "Organization", "Person", "LegalEntity", "OperatingUnit"
PARTY_TYPES = {name.casefold(): name for name in (ORGANIZATION, PERSON, LEGAL_ENTITY, OPERATING_UNIT, "Team")}
"""Types of party as the wire shows them, by lower-case name."""

TYPE_OF_ROOT = {"CompanyInfo": LEGAL_ENTITY, "OMOperatingUnit": OPERATING_UNIT, "HcmWorker": PERSON, "ContactPerson": PERSON}
"""Party type of a new record of an entity over this table; any other is a person when it has a person's name only."""

NAME_PARTS = ("firstname", "middlename", "lastnameprefix", "lastname")
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
            row.put("name", composed)
        if row.is_new:
            if not row.value("namealias"):
                row.put("namealias", row.value("name"))
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


def field_of(sources: DataSources, table: str, column: str) -> str | None:
    """The entity's field (lower case) that is this column; None when it has none."""
    for name, binding in sources.fields.items():
        if binding.column == column and sources.sources[binding.source].table.name == table:
            return name
    return None


def default_party_type(sources: DataSources, message: Message) -> None:
    """Give new records of an entity that has a party the type their root table or their names stand for."""
    party_type = field_of(sources, "DirPartyTable", "partytype")
    if party_type is None:
        return
    name = field_of(sources, "DirPartyTable", "name")
    parts = [field for part in NAME_PARTS if (field := field_of(sources, "DirPartyTable", part))]
    for row in message.rows:
        if not row.values.get(party_type):
            is_person = not (name and row.values.get(name)) and any(row.values.get(part) for part in parts)
            fallback = PERSON if is_person else ORGANIZATION
            row.values[party_type] = TYPE_OF_ROOT.get(sources.root.table.name, fallback)
