"""The two stories of the demo, and a save that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PowerPlatform.Dataverse.core.errors import HttpError

from isthmus.cli.demo_customer import ACCOUNT, COMPANY, Customer, View
from isthmus.cli.demo_sample_data import payload, records_of
from isthmus.cli.demo_screen import Screen
from isthmus.clock import monotonic
from isthmus.errors import Bug
from isthmus.solutions import catalog

NEW_BILLING = {
    "address1_line1": "77 Lighthouse Row",
    "address1_city": "Portland",
    "address1_stateorprovince": "OR",
    "address1_postalcode": "97204",
}
NEW_SHIPPING = {
    "address2_line1": "5 Ferry Landing",
    "address2_city": "Seattle",
    "address2_stateorprovince": "WA",
    "address2_postalcode": "98101",
}
DOCK = "5 Ferry Landing, dock 3"

GROUP_ONLY_HERE = "CLUB"
"""A customer group without a company: such rows stay in Dataverse, so F&O never hears of it."""


class Stories:
    """Runs the stories against one environment. Raises Bug when the halves are not as they must be."""

    def __init__(self, customer: Customer, screen: Screen) -> None:
        self._customer = customer
        self._screen = screen
        self._id = ""

    def begin(self) -> None:
        """Put the customer where the stories begin, from finance and operations, and show it."""
        self._screen.heading(f"The customer: {ACCOUNT} of company {COMPANY}")
        entity = catalog().entity_of_collection["customersv3"]
        sample = next(
            record
            for record in records_of("CustomersV3")
            if record["dataAreaId"] == COMPANY and record["CustomerAccount"] == ACCOUNT
        )
        start = payload(entity, sample)
        shown = {name: start[name] for name in start if "Address" in name or name == "CreditLimit"}
        with self._timed("F&O (OData): PATCH CustomersV3, as the sample data has it"):
            self._customer.change_in_finops(**shown)
        with self._timed("Dataverse (SDK): records.list, the account by its number and company"):
            self._id = self._customer.find()
        self._show(None)

    def change_of_address(self) -> None:
        """A customer moves; customer service changes both addresses in Dataverse. Then F&O corrects one of them."""
        self._screen.heading("Story 1: the customer moves")
        before = self._view()
        with self._timed("Dataverse (SDK): records.update, billing and shipping address"):
            self._customer.change_in_dataverse(self._id, **NEW_BILLING, **NEW_SHIPPING)
        view = self._show(before)
        expect(view, "Billing street", NEW_BILLING["address1_line1"])
        expect(view, "Shipping street", NEW_SHIPPING["address2_line1"])
        with self._timed("F&O (OData): PATCH CustomersV3, the warehouse knows the dock"):
            self._customer.change_in_finops(DeliveryAddressStreet=DOCK)
        expect(self._show(view), "Shipping street", DOCK)

    def credit_limit(self) -> None:
        """Sales raises a credit limit from 2,000 to 5,000 without opening finance and operations."""
        self._screen.heading("Story 2: a credit limit from 2,000 to 5,000")
        before = self._view()
        expect(before, "Credit limit", 2000)
        with self._timed("Dataverse (SDK): records.update, creditlimit 5000"):
            self._customer.change_in_dataverse(self._id, creditlimit=5000)
        expect(self._show(before), "Credit limit", 5000)

    def refusal(self) -> None:
        """A save that finance and operations refuses is on neither half, and its caller is told why."""
        self._screen.heading("Both or neither: a save that the other half refuses")
        before = self._view()
        groups = self._customer.dataverse.records
        group = groups.create("msdyn_customergroup", {"msdyn_groupid": GROUP_ONLY_HERE})
        try:
            with self._timed(f"Dataverse (SDK): records.update, creditlimit 9000 and customer group {GROUP_ONLY_HERE}"):
                message = self._refused(
                    {"creditlimit": 9000, "msdyn_customergroupid@odata.bind": f"/msdyn_customergroups({group})"}
                )
        finally:
            groups.delete("msdyn_customergroup", str(group))
        self._screen.note(f"Refused: {message}")
        after = self._view()
        self._screen.note("Both halves are as they were:")
        self._screen.view(tuple(line for line in after if line.label == "Credit limit"))
        if after != before:
            raise Bug("a refused save changed something.")

    def _view(self) -> View:
        return self._customer.view(self._id)

    def _show(self, before: View | None) -> View:
        view = self._view()
        self._screen.view(view, before=before, only_changed=before is not None)
        check_equal(view)
        return view

    def _refused(self, columns: dict[str, Any]) -> str:
        try:
            self._customer.change_in_dataverse(self._id, **columns)
        except HttpError as error:
            return str(error.message)
        raise Bug("the save should have been refused.")

    @contextmanager
    def _timed(self, text: str) -> Iterator[None]:
        started = monotonic()
        yield
        self._screen.step(text, monotonic() - started)


def check_equal(view: View) -> None:
    """Raises Bug when the halves differ."""
    different = [line.label for line in view if not line.equal]
    if different:
        raise Bug(f"the halves differ in: {', '.join(different)}.")


def expect(view: View, label: str, value: Any) -> None:
    """Raises Bug unless both halves have this value."""
    line = next(line for line in view if line.label == label)
    if line.dataverse != value or line.finops != value:
        raise Bug(f"{label} should be {value!r}: Dataverse has {line.dataverse!r}, F&O {line.finops!r}.")
