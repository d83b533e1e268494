"""What is refused before anything is written."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.finops.conftest import CUSTOMERS, TERMS, Create, Read, Write
from tests.support.callers import CALLER

from isthmus.apps.change import Operation
from isthmus.apps.message import Message, Row
from isthmus.errors import Conflict, Rejected
from isthmus.finops.app import FinopsApp
from isthmus.finops.values import NO_VALUE, convert
from isthmus.metadata.choice import Enum, Member
from isthmus.metadata.entity import EntityField
from isthmus.metadata.types import FieldType

ENUMS = {"NoYes": Enum("NoYes", (Member(0, "No"), Member(1, "Yes")))}


def field(type_: FieldType) -> EntityField:
    return EntityField(name="F", type=type_, source="S", field="F", enum="NoYes" if type_ is FieldType.ENUM else None)


@pytest.mark.parametrize(
    ("type_", "given", "expected"),
    [
        (FieldType.STRING, "x", "x"),
        (FieldType.INT, 5, 5),
        (FieldType.INT, "7", 7),
        (FieldType.INT, Decimal("3.0"), 3),
        (FieldType.INT64, 2**40, 2**40),
        (FieldType.REAL, 0.1, Decimal("0.1")),
        (FieldType.REAL, "12.50", Decimal("12.50")),
        (FieldType.DATE, "2024-02-29", date(2024, 2, 29)),
        (FieldType.DATE, "2024-02-29T12:00:00Z", date(2024, 2, 29)),
        (FieldType.DATE_TIME, "2024-02-29T10:11:12.9+02:00", datetime(2024, 2, 29, 8, 11, 12, tzinfo=UTC)),
        (FieldType.DATE_TIME, "2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        (FieldType.DATE_TIME, datetime(2024, 2, 29, 1), datetime(2024, 2, 29, 1, tzinfo=UTC)),
        (FieldType.ENUM, "yes", 1),
        (FieldType.ENUM, 1, 1),
        (FieldType.ENUM, "", 0),
        (FieldType.GUID, "00000000-0000-0000-0000-000000000001", UUID(int=1)),
        (FieldType.BOOLEAN, True, True),
        (FieldType.BINARY, "aGk=", b"hi"),
    ],
)
def test_values_are_converted(type_: FieldType, given: Any, expected: Any) -> None:
    value = convert(field(type_), given, ENUMS)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize("type_", list(FieldType))
def test_null_is_no_value(type_: FieldType) -> None:
    assert convert(field(type_), None, ENUMS) == NO_VALUE[type_]


@pytest.mark.parametrize(
    ("type_", "given"),
    [
        (FieldType.STRING, 5),
        (FieldType.STRING, "a\x00b"),
        (FieldType.INT, 2**31),
        (FieldType.INT, True),
        (FieldType.INT, 1.5),
        (FieldType.INT, Decimal("1E+99999999")),
        (FieldType.INT64, 2**63),
        (FieldType.REAL, "NaN"),
        (FieldType.REAL, "1E+40"),
        (FieldType.REAL, "ten"),
        (FieldType.DATE, "1899-12-31"),
        (FieldType.DATE, "2024-02-30"),
        (FieldType.DATE_TIME, "2155-01-01T00:00:00Z"),
        (FieldType.DATE_TIME, 5),
        (FieldType.GUID, "x"),
        (FieldType.BOOLEAN, "true"),
        (FieldType.ENUM, "Maybe"),
        (FieldType.ENUM, 2),
    ],
)
def test_values_that_are_none_of_the_type_are_refused(type_: FieldType, given: Any) -> None:
    with pytest.raises(Rejected) as refused:
        convert(field(type_), given, ENUMS)
    assert refused.value.details["field"] == "F"


async def test_a_mandatory_field_must_be_filled(create: Create, write: Write, new_customer: Create) -> None:
    with pytest.raises(Rejected) as refused:
        await create(TERMS, dataareaid="usmf", description="No name")
    assert (refused.value.code, refused.value.details["field"]) == ("mandatory_field_missing", "Name")
    recid = await new_customer()
    with pytest.raises(Rejected) as refused:
        await write(Operation.UPDATE, CUSTOMERS, Row(id=recid, values={"salescurrencycode": ""}))
    assert refused.value.details["field"] == "SalesCurrencyCode"


async def test_a_value_longer_than_its_field_is_refused(create: Create) -> None:
    await create(TERMS, dataareaid="usmf", name="Long", description="x" * 60)
    with pytest.raises(Rejected) as refused:
        await create(TERMS, dataareaid="usmf", name="Longer", description="x" * 61)
    assert (refused.value.code, refused.value.details["field"]) == ("value_too_long", "Description")


async def test_an_unknown_field_is_refused(new_customer: Create) -> None:
    with pytest.raises(Rejected) as refused:
        await new_customer(colour="red")
    assert refused.value.code == "property_not_found"


async def test_read_only_fields_are_ignored(new_customer: Create, read: Read) -> None:
    customer = await read(CUSTOMERS, await new_customer(addressrecordid=7, fullprimaryaddress="Elsewhere"))
    assert customer["fullprimaryaddress"] == ""


async def test_an_entity_that_only_reads_is_not_written(create: Create) -> None:
    with pytest.raises(Rejected) as refused:
        await create("CustomerPostalAddressEntity", dataareaid="usmf")
    assert refused.value.code == "entity_read_only"


async def test_the_company_must_exist(new_customer: Create, create: Create) -> None:
    with pytest.raises(Rejected) as refused:
        await new_customer(dataareaid="nope")
    assert (refused.value.code, refused.value.details["value"]) == ("company_not_found", "nope")
    await create("OMLegalEntity", legalentityid="NOPE", name="Now it does")
    await create(TERMS, dataareaid="NOPE", name="Net1")


async def test_a_company_that_was_rolled_back_does_not_exist(app: FinopsApp, create: Create) -> None:
    async with app.context(CALLER, correlation_id="test") as context:
        for entity, values in (
            ("OMLegalEntity", {"legalentityid": "GONE", "name": "Never"}),
            (TERMS, {"dataareaid": "gone", "name": "Net1"}),
        ):
            await app.execute(context, Message(operation=Operation.CREATE, table=entity, rows=[Row(values=values)]))
    with pytest.raises(Rejected) as refused:
        await create(TERMS, dataareaid="gone", name="Net1")
    assert refused.value.code == "company_not_found"


async def test_a_record_without_company_is_of_the_default_company(create: Create, read: Read) -> None:
    assert (await read(TERMS, await create(TERMS, name="Default")))["dataareaid"] == "usmf"


async def test_a_company_with_records_stays(create: Create, write: Write) -> None:
    company = await create("OMLegalEntity", legalentityid="FULL", name="Full")
    terms = await create(TERMS, dataareaid="full", name="Net1")
    with pytest.raises(Conflict) as refused:
        await write(Operation.DELETE, "OMLegalEntity", Row(id=company))
    assert (refused.value.code, refused.value.details["used_by"]) == ("in_use", "PaymTerm")
    await write(Operation.DELETE, TERMS, Row(id=terms))
    await write(Operation.DELETE, "OMLegalEntity", Row(id=company))
