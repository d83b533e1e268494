"""Values that columns take, change or refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from isthmus.errors import IsthmusError, Rejected
from isthmus.metadata.catalog import Catalog

Create = Callable[..., Awaitable[UUID]]
Read = Callable[..., Awaitable[dict[str, Any]]]


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("name", 5, "value_type"),
        ("name", "x" * 161, "text_too_long"),
        ("name", "nul\x00", "value_type"),
        ("numberofemployees", "many", "value_type"),
        ("numberofemployees", -1, "integer_out_of_range"),
        ("numberofemployees", 2**31, "value_type"),
        ("revenue", Decimal("-0.01"), "number_out_of_range"),
        ("revenue", Decimal("NaN"), "value_type"),
        ("revenue", True, "value_type"),
        ("donotemail", 1, "value_type"),
        ("industrycode", 99, "option_not_found"),
        ("industrycode", True, "value_type"),
        ("lastonholdtime", "yesterday", "value_type"),
        ("lastonholdtime", datetime(1752, 12, 31, tzinfo=UTC), "date_out_of_range"),
        ("primarycontactid", "me", "value_type"),
        ("nosuchcolumn", 1, "column_not_found"),
    ],
)
async def test_a_wrong_value_is_refused_by_name(create: Create, column: str, value: object, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        await create("account", **{column: value})
    assert caught.value.code == code
    assert column in caught.value.message


async def test_a_range_is_told_in_plain_digits(create: Create) -> None:
    with pytest.raises(Rejected, match="it must be from 0 to 1000000000\\."):
        await create("account", numberofemployees=-1)


async def test_values_are_stored_in_the_columns_form(create: Create, read: Read) -> None:
    row_id = await create(
        "account",
        name="  kept as it is ",
        revenue=Decimal("10.005"),
        description="",
        lastonholdtime=datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
        numberofemployees=Decimal("7"),
    )
    row = await read("account", row_id)
    assert row["name"] == "  kept as it is "
    assert row["revenue"] == Decimal("10.01")
    assert row["description"] is None
    assert row["lastonholdtime"] == datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    assert row["numberofemployees"] == 7


async def test_a_date_without_time_takes_the_day(create: Create, read: Read) -> None:
    row_id = await create("contact", lastname="Born", birthdate=datetime(1990, 5, 4, 22, 0, tzinfo=UTC))
    assert (await read("contact", row_id))["birthdate"] == date(1990, 5, 4)


async def test_read_only_columns_are_ignored(create: Create, read: Read) -> None:
    row_id = await create("account", name="A", createdon=datetime(2001, 1, 1, tzinfo=UTC), versionnumber=1)
    row = await read("account", row_id)
    assert row["createdon"].year > 2001
    assert row["versionnumber"] > 1


async def test_defaults_fill_what_is_not_given(create: Create, read: Read, catalog: Catalog) -> None:
    row = await read("account", await create("account", name="A"))
    for column in catalog.table("account").columns:
        if column.default is not None and not column.name.endswith("code"):
            assert row[column.name] == column.default, column.name


async def test_the_id_may_be_given(create: Create, read: Read) -> None:
    row_id = uuid4()
    assert await create("account", name="A", accountid=row_id) == row_id
    assert (await read("account", row_id))["name"] == "A"
    with pytest.raises(IsthmusError) as caught:
        await create("account", name="B", accountid=row_id)
    assert caught.value.code == "duplicate_id"


async def test_required_columns_are_asked_for(create: Create) -> None:
    with pytest.raises(Rejected) as caught:
        await create("transactioncurrency", currencyname="Euro")
    assert caught.value.code == "required_column"


async def test_what_only_forms_require_is_not_asked_for(create: Create, catalog: Catalog) -> None:
    assert catalog.table("account").column["name"].required_level == "ApplicationRequired"
    assert await create("account", accountnumber=f"N{uuid4().hex[:8]}")
