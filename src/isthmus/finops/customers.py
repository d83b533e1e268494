"""Customers (CustTable): defaults from group and company, and what a customer's fields may refer to."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Stage, Step
from isthmus.errors import Rejected
from isthmus.finops import trade_accounts
from isthmus.finops.data_sources import DataSources

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

TABLE = "CustTable"

REFERENCES: tuple[tuple[str, str, str, str], ...] = (
    (TABLE, "custgroup", "CustCustomerGroupEntity", "CustomerGroupId"),
    (TABLE, "currency", "CurrencyEntity", "CurrencyCode"),
    (TABLE, "paymtermid", "PaymentTermEntity", "Name"),
    (TABLE, "paymsched", "PaymentScheduleEntity", "Name"),
    (TABLE, "paymdayid", "PaymentDayCdsEntity", "Name"),
    (TABLE, "paymmode", "CustomerPaymentMethodEntity", "Name"),
    (TABLE, "taxgroup", "TaxGroupEntity", "TaxGroupCode"),
    (TABLE, "invoiceaccount", "CustCustomerV3Entity", "CustomerAccount"),
    (TABLE, "vendaccount", "VendVendorV2Entity", "VendorAccountNumber"),
)
"""What CustTable's columns name: (table, column, entity, field of its key)."""

GROUP = trade_accounts.Group(
    column="custgroup",
    entity="CustCustomerGroupEntity",
    key="CustomerGroupId",
    defaults=(("paymtermid", "PaymentTermId"), ("taxgroup", "TaxGroupId")),
)
"""A new customer's terms of payment and tax group are its group's (CustTable.initFromCustGroup)."""


def register(app: FinopsApp) -> None:
    """Add the steps of every entity that writes customers."""
    for sources in app.entities_over(TABLE):
        complete = partial(_complete, app, sources)
        check = partial(_check, sources)
        entity = sources.entity.aot_name
        app.pipeline.register(
            Step(stage=Stage.PRE_VALIDATION, operation=Operation.CREATE, table=entity, handler=complete, rank=10)
        )
        for operation in (Operation.CREATE, Operation.UPDATE):
            app.pipeline.register(
                Step(stage=Stage.PRE_VALIDATION, operation=operation, table=entity, handler=check, rank=11)
            )


async def _complete(app: FinopsApp, sources: DataSources, context: Context, message: Message) -> None:
    await trade_accounts.default_from_group(app, sources, context, message, TABLE, GROUP)
    await trade_accounts.default_currency(app, sources, context, message, TABLE)


async def _check(sources: DataSources, context: Context, message: Message) -> None:
    """Rejected (`value_out_of_range`) for a credit limit below zero."""
    field = sources.field_of(TABLE, "creditmax")
    if field is None:
        return
    for row in message.rows:
        limit = row.values.get(field, Decimal(0))
        if limit < 0:
            raise Rejected(
                f"The credit limit of a customer can't be negative ({limit}). Give 0 or more.",
                code="value_out_of_range",
                field=sources.fields[field].field.name,
            )
