"""One customer seen from both halves: Dataverse through Microsoft's own SDK, finance and operations through OData."""

from __future__ import annotations

import os
import shlex
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec
from azure.identity import ClientSecretCredential
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.config import DataverseConfig

from isthmus.cli.demo_log_in import LogIn
from isthmus.errors import Unavailable

COMPANY = "usmf"
ACCOUNT = "US-001"

PAIRS: tuple[tuple[str, str, str], ...] = (
    ("Name", "name", "OrganizationName"),
    ("Billing street", "address1_line1", "InvoiceAddressStreet"),
    ("Billing city", "address1_city", "InvoiceAddressCity"),
    ("Billing state", "address1_stateorprovince", "InvoiceAddressState"),
    ("Billing zip code", "address1_postalcode", "InvoiceAddressZipCode"),
    ("Shipping street", "address2_line1", "DeliveryAddressStreet"),
    ("Shipping city", "address2_city", "DeliveryAddressCity"),
    ("Shipping state", "address2_stateorprovince", "DeliveryAddressState"),
    ("Shipping zip code", "address2_postalcode", "DeliveryAddressZipCode"),
    ("Credit limit", "creditlimit", "CreditLimit"),
)
"""What the demo shows: a label, the column of Dataverse's account, the field of F&O's CustomersV3."""


class Line(msgspec.Struct, frozen=True):
    """One value of the customer on both halves."""

    label: str
    dataverse: Any
    finops: Any

    @property
    def equal(self) -> bool:
        """Whether both halves have the same value."""
        return bool(self.dataverse == self.finops)


View = tuple[Line, ...]


class Customer(AbstractContextManager["Customer"]):
    """The customer of the stories. Opened with `with`; both connections are closed afterwards."""

    def __init__(self, log_in: LogIn, data_dir: Path) -> None:
        self._log_in = log_in
        self._data_dir = data_dir
        self._open = ExitStack()

    def __enter__(self) -> Self:
        credential = self._open.enter_context(_credential(self._data_dir))
        # One attempt: the demo kills the server under a request and must not send it again.
        client = DataverseClient(self._log_in.base_url, credential, config=DataverseConfig(http_retries=1))
        self.dataverse = self._open.enter_context(client)
        self.finops = self._open.enter_context(self._log_in.finops())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def find(self) -> str:
        """The account's id. Raises Unavailable when Dataverse has no such account."""
        company = f"msdyn_company/cdm_companycode eq '{COMPANY}'"
        found = self.dataverse.records.list(
            "account", filter=f"accountnumber eq '{ACCOUNT}' and {company}", select=["accountid"]
        ).first()
        if found is None:
            raise Unavailable(f"Dataverse has no account {ACCOUNT} of {COMPANY}: dual-write did not carry it over.")
        return str(found["accountid"])

    def view(self, account_id: str) -> View:
        """The customer as both halves have it now."""
        account = self.dataverse.records.retrieve("account", account_id, select=[column for _, column, _ in PAIRS])
        if account is None:
            raise Unavailable(f"Dataverse has no account {account_id} any more.")
        answer = self.finops.get(_ADDRESS, params={"$select": ",".join(field for _, _, field in PAIRS)})
        answer.raise_for_status()
        customer = answer.json()
        return tuple(Line(label, account[column], customer[field]) for label, column, field in PAIRS)

    def change_in_dataverse(self, account_id: str, **columns: Any) -> None:
        """Save columns of the account through Microsoft's SDK."""
        self.dataverse.records.update("account", account_id, columns)

    def change_in_finops(self, **fields: Any) -> None:
        """Save fields of the customer through OData. Raises Unavailable with what F&O says."""
        answer = self.finops.patch(_ADDRESS, json=fields)
        if answer.status_code != httpx.codes.NO_CONTENT:
            raise Unavailable(f"CustomersV3 {ACCOUNT} was not saved: {answer.text}")


def _credential(data_dir: Path) -> ClientSecretCredential:
    """Microsoft's own login; the variables of `credentials.env` tell it everything, as they would in a user's shell."""
    for line in (data_dir / "credentials.env").read_text(encoding="utf-8").splitlines():
        name, _, value = shlex.split(line)[0].partition("=")
        os.environ[name] = value
    return ClientSecretCredential(
        os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"]
    )


_ADDRESS = f"/CustomersV3(dataAreaId='{COMPANY}',CustomerAccount='{ACCOUNT}')"
