"""Microsoft's Python SDK, unmodified, against a running environment."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

import httpx
import pytest
from azure.identity import EnvironmentCredential
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError
from PowerPlatform.Dataverse.models.upsert import UpsertItem
from tests.client.conftest import COMPANY, RunningEnvironment

pytestmark = pytest.mark.client

NAMES = {"account": "name", "contact": "lastname"}
NUMBERS = {"account": "accountnumber", "contact": "msdyn_contactpersonid"}
"""The column of each table's alternate key, beside its company."""

TABLES = tuple(NAMES)


def test_environment_variables_alone_log_in(
    running_environment: RunningEnvironment, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with EnvironmentCredential() as credential:
        token = credential.get_token(f"{running_environment.state.base_url}/.default")
    assert token.expires_on > time.time()
    answer = httpx.get(
        f"{running_environment.state.dataverse_url}/WhoAmI",
        headers={"authorization": f"Bearer {token.token}"},
        verify=running_environment.log_in.trust(),
    )
    assert answer.status_code == 200
    assert UUID(answer.json()["UserId"])


@pytest.mark.parametrize("table", TABLES)
def test_a_row_is_created_read_updated_and_deleted(client: DataverseClient, table: str) -> None:
    name = NAMES[table]
    row_id = client.records.create(table, {name: "Lantern Row", "telephone1": "555-0100"})
    row = client.records.retrieve(table, row_id, select=[name, "telephone1"])
    assert row is not None
    assert (row[name], row["telephone1"]) == ("Lantern Row", "555-0100")

    client.records.update(table, row_id, {"telephone1": "555-0199"})
    row = client.records.retrieve(table, row_id)
    assert row is not None
    assert (row[name], row["telephone1"]) == ("Lantern Row", "555-0199")

    client.records.delete(table, row_id)
    assert client.records.retrieve(table, row_id) is None


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_is_gone_can_be_neither_updated_nor_deleted(client: DataverseClient, table: str) -> None:
    row_id = str(uuid4())
    with pytest.raises(HttpError) as updated:
        client.records.update(table, row_id, {"telephone1": "555-0100"})
    with pytest.raises(HttpError) as deleted:
        client.records.delete(table, row_id)
    assert (updated.value.status_code, deleted.value.status_code) == (404, 404)


@pytest.mark.parametrize("table", TABLES)
def test_a_list_is_paged_without_loss_or_repetition(client: DataverseClient, table: str) -> None:
    name, mark = NAMES[table], f"paged {uuid4()}"
    created = client.records.create(table, [{name: f"{mark} {number:02}"} for number in range(23)])
    pages = list(
        client.records.list_pages(
            table, filter=f"startswith({name},'{mark}')", select=[name], orderby=[name], page_size=10
        )
    )
    assert [len(page) for page in pages] == [10, 10, 3]
    found = [row for page in pages for row in page]
    assert [row[name] for row in found] == [f"{mark} {number:02}" for number in range(23)]
    assert {row[f"{table}id"] for row in found} == set(created)


@pytest.mark.parametrize("table", TABLES)
def test_a_list_is_filtered_ordered_and_cut(client: DataverseClient, table: str) -> None:
    name, mark = NAMES[table], f"listed {uuid4()}"
    client.records.create(table, [{name: f"{mark} {number}"} for number in range(4)])
    rows = client.records.list(
        table, filter=f"startswith({name},'{mark}') and {name} ne '{mark} 3'", orderby=[f"{name} desc"], top=2
    )
    assert [row[name] for row in rows] == [f"{mark} 2", f"{mark} 1"]


@pytest.mark.parametrize("table", TABLES)
def test_upsert_by_alternate_key_creates_then_updates(client: DataverseClient, company: UUID, table: str) -> None:
    number = f"U-{uuid4().hex[:12]}"
    key = {NUMBERS[table]: number, "_msdyn_company_value": company}
    client.records.upsert(table, [UpsertItem(alternate_key=key, record={NAMES[table]: "First"})])
    first = client.records.list(table, filter=f"{NUMBERS[table]} eq '{number}'", expand=["msdyn_company"])
    assert [row[NAMES[table]] for row in first] == ["First"]
    assert first[0]["msdyn_company"]["cdm_companycode"] == COMPANY

    client.records.upsert(table, [UpsertItem(alternate_key=key, record={NAMES[table]: "Second"})])
    second = client.records.list(table, filter=f"{NUMBERS[table]} eq '{number}'")
    assert [row[NAMES[table]] for row in second] == ["Second"]
    assert second[0][f"{table}id"] == first[0][f"{table}id"]


@pytest.mark.parametrize("table", TABLES)
def test_many_rows_are_upserted_in_one_request(client: DataverseClient, company: UUID, table: str) -> None:
    mark = uuid4().hex[:10]
    keys = [{NUMBERS[table]: f"M-{mark}-{number}", "_msdyn_company_value": company} for number in range(3)]
    for name in ("Before", "After"):
        client.records.upsert(table, [UpsertItem(alternate_key=key, record={NAMES[table]: name}) for key in keys])
    rows = client.records.list(table, filter=f"startswith({NUMBERS[table]},'M-{mark}')")
    assert [row[NAMES[table]] for row in rows] == ["After"] * 3
