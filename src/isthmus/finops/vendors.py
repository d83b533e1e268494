"""Vendors (VendTable): defaults from group and company, and what a vendor's fields may refer to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Stage, Step
from isthmus.finops import trade_accounts
from isthmus.finops.data_sources import DataSources

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

TABLE = "VendTable"

REFERENCES: tuple[tuple[str, str, str, str], ...] = (
    (TABLE, "vendgroup", "VendVendorGroupEntity", "VendorGroupId"),
    (TABLE, "currency", "CurrencyEntity", "CurrencyCode"),
    (TABLE, "paymtermid", "PaymentTermEntity", "Name"),
    (TABLE, "paymsched", "PaymentScheduleEntity", "Name"),
    (TABLE, "paymdayid", "PaymentDayCdsEntity", "Name"),
    (TABLE, "paymmode", "VendorPaymentMethodEntity", "Name"),
    (TABLE, "taxgroup", "TaxGroupEntity", "TaxGroupCode"),
    (TABLE, "invoiceaccount", "VendVendorV2Entity", "VendorAccountNumber"),
)
"""What VendTable's columns name: (table, column, entity, field of its key)."""

GROUP = trade_accounts.Group(
    column="vendgroup",
    entity="VendVendorGroupEntity",
    key="VendorGroupId",
    defaults=(("paymtermid", "DefaultPaymentTermName"), ("taxgroup", "DefaultTaxGroupCode")),
)
"""A new vendor's terms of payment and tax group are its group's (VendTable.initFromVendGroup)."""


def register(app: FinopsApp) -> None:
    """Add the steps of every entity that writes vendors."""
    for sources in app.entities_over(TABLE):
        app.pipeline.register(
            Step(
                stage=Stage.PRE_VALIDATION,
                operation=Operation.CREATE,
                table=sources.entity.aot_name,
                handler=partial(_complete, app, sources),
                rank=10,
            )
        )


async def _complete(app: FinopsApp, sources: DataSources, context: Context, message: Message) -> None:
    await trade_accounts.default_from_group(app, sources, context, message, TABLE, GROUP)
    await trade_accounts.default_currency(app, sources, context, message, TABLE)
