"""The sample data hold together, and `isthmus demo` does what it says, also the second time."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from isthmus import config, solutions
from isthmus.cli.demo_customer import Line
from isthmus.cli.demo_sample_data import payload, records_of, waves
from isthmus.cli.demo_stories import check_equal, expect
from isthmus.environments.databases import database_address
from isthmus.errors import Bug
from isthmus.server.state import current_state

CATALOG = solutions.catalog()
SETS = [name for wave in waves() for name in wave]

REFERENCES = (
    ("CustomersV3", "CustomerGroupId", "CustomerGroups", "CustomerGroupId"),
    ("CustomersV3", "PaymentTerms", "PaymentTerms", "Name"),
    ("CustomersV3", "PaymentMethod", "CustomerPaymentMethods", "Name"),
    ("CustomersV3", "SalesTaxGroup", "TaxGroups", "TaxGroupCode"),
    ("CustomersV3", "SalesCurrencyCode", "Currencies", "CurrencyCode"),
    ("CustomersV3", "DeliveryMode", "DeliveryModes", "ModeCode"),
    ("CustomersV3", "DeliveryTerms", "DeliveryTerms", "TermsCode"),
    ("CustomersV3", "SiteId", "OperationalSites", "SiteId"),
    ("VendorsV2", "VendorGroupId", "VendorGroups", "VendorGroupId"),
    ("VendorsV2", "DefaultPaymentTermsName", "PaymentTerms", "Name"),
    ("Warehouses", "OperationalSiteId", "OperationalSites", "SiteId"),
    ("ContactPersons", "ContactPersonPartyNumber", "CDSParties", "PartyNumber"),
    ("ContactPersons", "AssociatedPartyNumber", "CustomersV3", "PartyNumber"),
    ("ReleasedProductsV2", "ProductNumber", "AllProducts", "ProductNumber"),
    ("ReleasedProductsV2", "SalesUnitSymbol", "UnitsOfMeasure", "UnitSymbol"),
    ("ReleasedProductsV2", "PrimaryVendorAccountNumber", "VendorsV2", "VendorAccountNumber"),
    ("Ledgers", "ChartOfAccounts", "ChartOfAccounts", "ChartOfAccounts"),
)
"""(entity set, field, entity set it names, field there): a legal entity's records name records of the same one."""


def test_the_sample_company_has_the_size_it_promises() -> None:
    customers = records_of("CustomersV3")
    assert {record["LegalEntityId"] for record in records_of("LegalEntities")} == {"usmf", "demf"}
    assert len(customers) >= 200
    assert sum(record["PartyType"] == "Person" for record in customers) == 30
    assert len(records_of("VendorsV2")) >= 50
    assert len(records_of("AllProducts")) >= 100
    assert all(record["InvoiceAddressStreet"] and record["DeliveryAddressStreet"] for record in customers)


@pytest.mark.parametrize("name", SETS)
def test_records_fit_their_entity(name: str) -> None:
    entity = CATALOG.entity_of_collection[name.lower()]
    records = records_of(name)
    mandatory = {field.name for field in entity.fields if field.mandatory}
    keys = [tuple(record[key].lower() for key in entity.keys) for record in records]
    assert len(set(keys)) == len(keys) > 0
    for record in records:
        given = payload(entity, record)
        assert mandatory <= given.keys()
        for field_name, value in given.items():
            check_value(name, field_name, value)


def check_value(name: str, field_name: str, value: Any) -> None:
    field = CATALOG.entity_of_collection[name.lower()].field[field_name.lower()]
    assert field.name == field_name
    assert not field.read_only
    if field.enum:
        assert value in {member.symbol for member in CATALOG.enums[field.enum].members}
    if field.max_length and isinstance(value, str):
        assert len(value) <= field.max_length


@pytest.mark.parametrize(("name", "field", "target", "target_field"), REFERENCES)
def test_records_name_records_that_are_loaded_before_them(
    name: str, field: str, target: str, target_field: str
) -> None:
    known = {(record.get("dataAreaId"), record[target_field]) for record in records_of(target)}
    named = {(record.get("dataAreaId"), record[field]) for record in records_of(name) if record[field]}
    if "dataAreaId" not in records_of(target)[0]:
        named = {(None, value) for _, value in named}
    assert named <= known
    wave_of = {entity_set: number for number, wave in enumerate(waves()) for entity_set in wave}
    assert wave_of[target] < wave_of[name]


def test_halves_that_differ_are_noticed() -> None:
    with pytest.raises(Bug, match="Credit limit"):
        check_equal((Line("Name", "A", "A"), Line("Credit limit", 2000.0, 5000.0)))
    with pytest.raises(Bug, match="Credit limit should be 5000"):
        expect((Line("Credit limit", 2000.0, 2000.0),), "Credit limit", 5000)


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A data directory for demos; what they leave running is stopped."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-demo-"))
    yield directory
    isthmus(directory, "down")
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def first_run(data_dir: Path) -> subprocess.CompletedProcess[str]:
    """The first demo on a data directory."""
    return isthmus(data_dir, "demo", "--port", "0")


def isthmus(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from isthmus.cli import main; main()", *arguments, "--data-dir", str(data_dir)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)


def test_the_demo_tells_its_stories(first_run: subprocess.CompletedProcess[str]) -> None:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert f"{sum(len(records_of(name)) for name in SETS):,} records created, 0 were there" in first_run.stdout
    for heading in ("Story 1", "Story 2", "Refused:", "in doubt", "the save stands on both halves", "Try next"):
        assert heading in first_run.stdout
    assert "differ" not in first_run.stdout


def test_the_second_run_finds_everything_there(data_dir: Path, first_run: subprocess.CompletedProcess[str]) -> None:
    before = current_state(data_dir)
    second = isthmus(data_dir, "demo")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "  0 records created" in second.stdout
    after = current_state(data_dir)
    assert after.state == "running"
    assert after.base_url == before.base_url


async def test_halves_that_differ_end_the_demo(data_dir: Path, first_run: subprocess.CompletedProcess[str]) -> None:
    settings = config.load({"data_dir": data_dir}, {})
    name = "select name from finops.dirpartytable where partynumber = $1"
    rename = "update finops.dirpartytable set name = $2 where partynumber = $1"
    party = next(record for record in records_of("CustomersV3") if record["CustomerAccount"] == "US-001")["PartyNumber"]
    connection = await asyncpg.connect(database_address(settings, "finops"))
    try:
        right = await connection.fetchval(name, party)
        await connection.execute(rename, party, "Somebody else")
        refused = await asyncio.to_thread(isthmus, data_dir, "demo")
        await connection.execute(rename, party, right)
    finally:
        await connection.close()
    assert refused.returncode == 1
    assert "the halves differ in: Name" in refused.stderr


def test_a_demo_that_can_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "isthmus.toml").write_text("no_such_setting = 1\n")
    refused = isthmus(tmp_path, "demo")
    assert refused.returncode == 2
    assert "no_such_setting" in refused.stderr
