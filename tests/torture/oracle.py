"""What must be true after quiet, read from both databases past all of the product."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from tests.torture.history import History, Record
from tests.torture.running import Running

ACCOUNTS = """
select a.accountid::text as id, a.accountnumber as number, coalesce(a.description, '') as memo, a.creditlimit as limit,
       c.cdm_companycode as company, a.name, g.msdyn_groupid as customer_group, u.isocurrencycode as currency,
       p.msdyn_partynumber as party, coalesce(a.msdyn_creditrating, '') as rating,
       coalesce(a.msdyn_identificationnumber, '') as identification,
       coalesce(a.msdyn_taxexemptnumber, '') as tax_number,
       coalesce(a.msdyn_creditlimitismandatory, false) as limit_mandatory,
       coalesce(a.msdyn_onetimecustomer, false) as one_time, coalesce(b.accountnumber, '') as invoice_account
from dataverse.account a
left join dataverse.cdm_company c on c.cdm_companyid = a.msdyn_company
left join dataverse.msdyn_customergroup g on g.msdyn_customergroupid = a.msdyn_customergroupid
left join dataverse.transactioncurrency u on u.transactioncurrencyid = a.transactioncurrencyid
left join dataverse.msdyn_party p on p.msdyn_partyid = a.msdyn_partyid
left join dataverse.account b on b.accountid = a.msdyn_billingaccount
where a.customertypecode = 3
"""

CUSTOMERS = """
select recid::text as id, customeraccount as number, salesmemo as memo, creditlimit as limit, dataareaid as company,
       organizationname as name, customergroupid as customer_group, salescurrencycode as currency,
       partynumber as party, creditrating as rating, identificationnumber as identification,
       taxexemptnumber as tax_number, creditlimitismandatory = 1 as limit_mandatory, isonetimecustomer = 1 as one_time,
       invoiceaccount as invoice_account
from finops.custcustomerv3entity
"""

COMPARED = (
    *("memo", "limit", "name", "customer_group", "currency", "party", "rating", "identification", "tax_number"),
    *("limit_mandatory", "one_time", "invoice_account"),
)
"""Mapped values, those the writers write and those that nobody does; the company and number are the key."""

Row = dict[str, Any]


class Figures(msgspec.Struct):
    """What one or more rounds came to. All of `faults` must be 0."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    repeated: int = 0
    never_sent: int = 0
    lock_timeouts: int = 0
    unexpected: int = 0
    records: int = 0
    records_apart: int = 0
    acknowledged_lost: int = 0
    refused_yet_applied: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    prepared_left: int = 0
    examples: list[str] = []

    def add(self, other: Figures) -> None:
        """Add the figures of another round."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def faults(self) -> int:
        """How much of what must not happen has happened."""
        return (
            self.records_apart
            + self.acknowledged_lost
            + self.refused_yet_applied
            + self.duplicates
            + self.out_of_order
            + self.prepared_left
        )

    def found(self, name: str, what: str) -> None:
        """Count a fault, and keep the first few in words."""
        setattr(self, name, getattr(self, name) + 1)
        if len(self.examples) < 12:
            self.examples.append(f"{name}: {what}")


async def check(running: Running, history: History) -> Figures:
    """Compare both halves with each other and with what the writers were told."""
    figures = _count(history)
    figures.prepared_left = await running.prepared()
    accounts = await _rows(running, "dataverse", ACCOUNTS)
    customers = await _rows(running, "finops", CUSTOMERS)
    _compare(figures, accounts, customers)
    created = _by_first_mark(accounts), _by_first_mark(customers)
    for record in history.records:
        _check_record(figures, record, *(rows.get(record.mark, []) for rows in created))
    return figures


def _count(history: History) -> Figures:
    operations = history.operations()
    outcomes = Counter(operation.outcome for operation in operations)
    unexpected = [operation for operation in operations if operation.status == 500]
    return Figures(
        acknowledged=outcomes["acknowledged"],
        refused=outcomes["refused"],
        unknown=outcomes["unknown"],
        repeated=sum(operation.attempts > 1 for operation in operations),
        never_sent=sum(o.outcome == "refused" and not o.status for o in operations),
        lock_timeouts=sum("Another save holds" in operation.said for operation in operations),
        unexpected=len(unexpected),
        records=len(history.records),
        examples=[f"unexpected: {operation}" for operation in unexpected[:3]],
    )


async def _rows(running: Running, half: str, sql: str) -> list[Row]:
    connection = await running.connect(half)
    try:
        return [dict(record) for record in await connection.fetch(sql)]
    finally:
        await connection.close()


def _by_first_mark(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by the mark of what created them."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault((row["memo"].split() or [""])[0], []).append(row)
    return found


def _compare(figures: Figures, accounts: list[Row], customers: list[Row]) -> None:
    """I1: the same records on both halves, with the same mapped values."""

    def by_key(rows: list[Row]) -> dict[tuple[str, str], Row]:
        return {((row["company"] or "").lower(), row["number"] or row["id"]): row for row in rows}

    here, there = by_key(accounts), by_key(customers)
    for key in here.keys() | there.keys():
        account, customer = here.get(key), there.get(key)
        if account is None or customer is None:
            figures.found("records_apart", f"{key} is on {'F&O' if account is None else 'Dataverse'} only")
            continue
        differing = [name for name in COMPARED if account[name] != customer[name]]
        if differing:
            shown = ", ".join(f"{name}: {account[name]!r} and {customer[name]!r}" for name in differing)
            figures.found("records_apart", f"{key} differs in {shown}"[:600])


def _check_record(figures: Figures, record: Record, accounts: list[Row], customers: list[Row]) -> None:
    """I2 to I5: what its writers were told, against what stands on each half."""
    (create,) = record.of("create")
    if max(len(accounts), len(customers)) > 1:
        figures.found("duplicates", f"{create} made {len(accounts)} accounts and {len(customers)} customers")
        return
    may_be_gone = record.of("delete", "acknowledged", "unknown")
    gone = not accounts or not customers
    if create.outcome == "acknowledged" and gone and not may_be_gone:
        figures.found("acknowledged_lost", f"{create}: its record is gone, {record.of('delete')}")
    if create.outcome == "refused" and (accounts or customers):
        figures.found("refused_yet_applied", f"{create}")
    if accounts or customers:
        for delete in record.of("delete", "acknowledged"):
            figures.found("acknowledged_lost", f"{delete}: its record {record.number} is there")
    for row in (*accounts, *customers):
        _check_list(figures, record, row)


def _check_list(figures: Figures, record: Record, row: Row) -> None:
    """The marks of one record on one half: each acknowledged one once, no refused one, in the order of the answers."""
    marks = row["memo"].split()
    places = {mark: place for place, mark in enumerate(marks)}
    if len(places) != len(marks) or row["limit"] != len(marks):
        figures.found(
            "duplicates", f"{record.number}: {len(marks)} marks, {len(places)} of them different, {row}"[:600]
        )
    appends = record.of("append")
    for append in appends:
        if append.outcome == "acknowledged" and append.mark not in places:
            figures.found("acknowledged_lost", f"{append} is not in {record.number}")
        if append.outcome == "refused" and append.mark in places:
            figures.found("refused_yet_applied", f"{append} is in {record.number}")
    by_mark = {append.mark: append for append in appends}
    latest_begin = 0.0
    for mark in marks[1:]:
        append = by_mark.get(mark)
        if append is None:
            figures.found("duplicates", f"{mark} in {record.number} was never written there")
            continue
        if append.outcome == "acknowledged" and append.answered < latest_begin:
            figures.found("out_of_order", f"{append} stands behind one that began after it had been answered")
        latest_begin = max(latest_begin, append.invoked)
