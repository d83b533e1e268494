"""The management calls of dual-write as an administrator's script makes them, over a real environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from tests.support.callers import CALLER
from tests.support.writing import create, delete

from isthmus.config import Settings
from isthmus.environments.environment import Environment

BASE = "/api/DualWriteManagement/1.0"
UNITS = "uoms - Units"
CUSTOMERS = "accounts - Customers V3"
COMPANIES = "cdm_companies - Legal entities"
CURRENCIES = "transactioncurrencies - Currencies"


class Script:
    """What an administration tool does with these calls."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.cid = ""
        self.cname = ""

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        answer = await self.client.post(path, json=body, params=query)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else None

    async def connect(self) -> None:
        (found,) = await self.get(f"{BASE}/Environments", targetType="AX", identifier="erp.example.com")
        self.cid, self.cname = found["cid"], found["cname"]

    async def map(self, name: str) -> dict[str, Any]:
        maps = await self.get(f"{BASE}/Entities", targetType="AX", cid=self.cid)
        found: dict[str, Any] = next(one for one in maps if one["detail"]["tName"] == name)
        return found

    async def act(self, action: str, *names: str, parameters: Any = None) -> dict[str, Any]:
        """Do something with maps and poll until it is done; the last request."""
        details = []
        for name in names:
            detail = (await self.map(name))["detail"]
            given = {"tid": detail["tid"], "pid": detail["pid"], "cid": self.cid}
            details.append(given | ({"parameters": parameters} if parameters is not None else {}))
        request_id = (await self.post(f"{BASE}/Start", {"action": action, "details": details}))["requestId"]
        for _ in range(600):
            maps = await self.get(f"{BASE}/Status/{request_id}")
            assert {one["detail"]["tName"] for one in maps} == set(names)
            request: dict[str, Any] = next(
                one for one in maps[0]["detail"]["lastRequests"] if one["requestId"] == request_id
            )
            if request["state"] != "1":
                return request
            await asyncio.sleep(0.05)
        raise AssertionError(f"{action} of {names} did not end: {request}")

    async def state(self, name: str) -> str:
        return str((await self.map(name))["detail"]["state"])


def client_of(environment: Environment) -> httpx.AsyncClient:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["isthmus.principal"] = CALLER
        await environment.management_calls(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://erp.example.com")


@pytest.fixture
async def script(halves: Environment) -> AsyncIterator[Script]:
    async with client_of(halves) as client:
        script = Script(client)
        await script.connect()
        yield script


async def test_an_environment_is_found_by_host_or_address(script: Script) -> None:
    for identifier in ("erp.example.com", "https://erp.example.com/", "ERP.example.com", "erp.example.com:8443"):
        (found,) = await script.get(f"{BASE}/Environments", targetType="AX", identifier=identifier)
        assert found["cid"] == script.cid and found["detail"]["isSolutionAware"]
    assert await script.get(f"{BASE}/Environments", targetType="AX", identifier="other.example.com") == []
    assert isinstance(await script.get(f"{BASE}/Version"), str)


async def test_maps_are_started_polled_paused_resumed_and_stopped(script: Script) -> None:
    assert await script.state(UNITS) == "4"
    assert (await script.act("4", UNITS))["state"] == "2"
    assert await script.state(UNITS) == "6"
    assert (await script.act("8", UNITS))["state"] == "2"
    start = {"skipInitialSync": False, "conflictResolution": {"option": "1", "master": "AX"}}
    assert (await script.act("1", UNITS, parameters=start))["state"] == "2"
    detail = (await script.map(UNITS))["detail"]
    assert (detail["state"], detail["lastRequest"]["action"]) == ("4", "1")
    assert detail["actions"] == ["5", "4"]
    assert (await script.act("5", UNITS, COMPANIES))["state"] == "2"
    assert [await script.state(name) for name in (UNITS, COMPANIES)] == ["5", "5"]
    skip = {"dualWriteSkipCatchUpSyncParameters": {"skipCatchUpSyncPreserveData": True}}
    assert (await script.act("6", UNITS, parameters=skip))["state"] == "2"
    assert (await script.act("resume", COMPANIES))["state"] == "2"
    assert [await script.state(name) for name in (UNITS, COMPANIES)] == ["4", "4"]


async def test_an_action_that_the_state_does_not_allow(script: Script) -> None:
    detail = (await script.map(UNITS))["detail"]
    given = {"tid": detail["tid"], "pid": detail["pid"], "cid": script.cid}
    for action, status, code in (("6", 400, "table_map_transition"), ("3", 400, "action_unknown")):
        refused = await script.client.post(f"{BASE}/Start", json={"action": action, "details": [given]})
        assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_initial_sync_details(script: Script) -> None:
    await script.act("4", UNITS)
    await script.act("1", UNITS, parameters={"conflictResolution": {"master": "AX"}})
    pid = (await script.map(UNITS))["detail"]["pid"]
    details = await script.get(f"/api/ProjectExecutionWithCompanies/{pid}")
    assert details["errorCount"] == 0
    (response,) = details["projectExecutionResponses"]
    (task,) = response["taskExecutionStatuses"]
    assert [leg["displayName"] for leg in task["legs"]] == ["AX to CRM"]
    assert task["legs"][0]["status"] == "Completed" and not task["isRunning"]
    await script.act("4", UNITS)
    await script.act("1", UNITS, parameters={"skipInitialSync": True})
    (skipped,) = (await script.get(f"/api/ProjectExecutionWithCompanies/{pid}"))["projectExecutionResponses"]
    assert (skipped["executionStatus"], skipped["legalEntityName"]) == ("2", "")
    assert [(task["name"], task["legs"]) for task in skipped["taskExecutionStatuses"]] == [(UNITS, [])]


async def test_initial_sync_details_count_what_was_refused(script: Script, halves: Environment) -> None:
    await script.act("4", CURRENCIES)
    (id_,) = await create(halves.finops_app, "CurrencyEntity", {"currencycode": "XMC", "name": "Without symbol"})
    refused = await script.act("1", CURRENCIES, parameters={"conflictResolution": {"master": "AX"}})
    assert refused["state"] == "3" and "1 records were refused" in refused["errorMessage"]
    pid = (await script.map(CURRENCIES))["detail"]["pid"]
    (response,) = (await script.get(f"/api/ProjectExecutionWithCompanies/{pid}"))["projectExecutionResponses"]
    assert response.keys() == {
        "responseId", "displayName", "projectName", "legalEntityName", "legalEntityId", "schedule", "submittedOn",
        "executionStatus", "lastExecutionStatusChangeOn", "taskExecutionStatuses", "isDataManagementProject",
        "dataManagementOperation", "initialSyncRequestId", "id", "upsertCount", "errorCount", "owner",
        "createdDateTime",
    }  # fmt: skip
    leg = next(leg for leg in response["taskExecutionStatuses"][0]["legs"] if leg["displayName"] == "AX to CRM")
    assert leg.keys() == {
        "displayName", "status", "details", "exportStatus", "exportDetails", "exportJob", "exportStarted",
        "exportFinished", "exportRecordCount", "exportRecordErrorCount", "exportNewVersionToken", "exportRangeInfo",
        "importStatus", "importDetails", "importJob", "importStarted", "importFinished", "importRecordsInsertedCount",
        "importRecordsUpdatedCount", "importRecordsErrorCount", "exportErrors", "exportUri", "importErrors",
        "importErrorUri",
    }  # fmt: skip
    assert (response["errorCount"], leg["importRecordsErrorCount"], len(leg["importErrors"])) == (1, 1, 1)
    await delete(halves.finops_app, "CurrencyEntity", id_)
    assert (await script.act("1", CURRENCIES, parameters={"skipInitialSync": True}))["state"] == "2"


async def test_field_mappings_and_refresh(script: Script) -> None:
    pid = (await script.map(CUSTOMERS))["detail"]["pid"]
    mappings = await script.get(f"{BASE}/{pid}/FieldMappings")
    (task,) = mappings["entityMappingTasks"]
    (leg,) = task["legs"]
    assert (leg["sourceSchema"], leg["destinationSchema"]) == ("CustomersV3", "accounts")
    account = next(row for row in leg["fieldMappings"] if row["sourceField"] == "CUSTOMERACCOUNT")
    assert (account["destinationField"], account["syncDirection"]) == ("accountnumber", 3)
    finops, dataverse = (environment["schemas"][0] for environment in mappings["environments"])
    names = {field["name"] for field in finops["fields"]}
    assert {row["sourceField"] for row in leg["fieldMappings"] if row["sourceField"]} <= names
    number = next(field for field in dataverse["fields"] if field["name"] == "accountnumber")
    assert number["typeDetails"]["length"] == 20
    refreshed = await script.post(f"/api/Project/{mappings['name']}/Refresh", {"tokens": [""]})
    assert refreshed["id"] == pid and refreshed["validationIssues"] == []
    assert mappings.keys() == {
        "name", "displayName", "environments", "targetTypeList", "entityMappingTasks", "validationIssues",
        "projectState", "isPQOnlineFlow", "maxCrmIo", "useCrmOdataExport", "createImportErrorFile",
        "autoRetryFailedImportRecords", "templateIdentifier", "isDataManagementProject", "dataManagementOperation",
        "tenant", "isDualWriteProject", "isDualWriteEnabled", "skipInitialSync", "areKeysMismatched",
        "authorizedUsers", "id", "owner", "createdDateTime", "tags",
    }  # fmt: skip
    assert task.keys() == {
        "name", "order", "connectionSetName", "leftEnvironmentType", "centerEnvironmentType", "rightEnvironmentType",
        "leftEnvironment", "centerEnvironment", "leftPartitionName", "centerPartitionName", "legs",
    }  # fmt: skip
    assert leg.keys() == {
        "id", "sourceEnvironment", "sourceSchema", "sourceEnvironmentType", "sourceFilter", "isSourceFilterEditable",
        "destinationEnvironment", "destinationSchema", "destinationEnvironmentType", "reversedSourceFilter",
        "fieldMappings", "entityFileFormat", "deleteNonMatchingData",
    }  # fmt: skip
    assert mappings["templateIdentifier"]["id"] == (await script.map(CUSTOMERS))["detail"]["tid"]
    assert task["connectionSetName"] == script.cname and mappings["createdDateTime"]


async def test_prerequisites_come_in_order(script: Script) -> None:
    customers, companies = [(await script.map(name))["detail"]["tid"] for name in (CUSTOMERS, COMPANIES)]
    (sequence,) = await script.post(f"{BASE}/GetTemplatePrerequisiteSequences/{script.cid}", [customers])
    assert sequence[-1] == customers
    assert companies in sequence


async def test_solutions_are_listed_and_applied(script: Script) -> None:
    solutions = await script.get(f"{BASE}/SolutionAware/{script.cid}/Solutions/")
    assert "msdyn_DualWriteAppCoreMaps" in {one["uniquename"] for one in solutions}
    body = {"action": "2", "solutions": [{"criteria": {"uniquename": "msdyn_DualWriteAppCoreMaps"}}]}
    path = f"{BASE}/SolutionAware/{script.cid}"
    request_id = (await script.post(f"{path}/RestoreTemplates", body))["requestId"]
    for _ in range(200):
        status = await script.get(f"{path}/Status/{request_id}")
        if status["state"] != "1":
            break
        await asyncio.sleep(0.05)
    assert (status["state"], status["result"]["status"]) == ("2", "completed")
    body["solutions"] = [{"criteria": {"uniquename": "none"}}]
    assert (await script.client.post(f"{path}/RestoreTemplates", json=body)).status_code == 404


async def test_versions_are_switched_while_the_map_is_stopped(script: Script, halves: Environment) -> None:
    name = next(
        one["detail"]["tName"]
        for one in await script.get(f"{BASE}/Entities", cid=script.cid)
        if len(one["detail"]["templates"]) > 1
    )
    detail = (await script.map(name))["detail"]
    other = next(one["id"] for one in detail["templates"] if one["id"] != detail["tid"])
    path = f"{BASE}/SolutionAware/{script.cid}/SwitchActive"
    refused = await script.client.post(f"{path}/{other}", params={"pid": detail["pid"]}, content=other)
    assert refused.json()["code"] == "table_map_not_stopped"
    await script.act("4", name)
    try:
        switched = await script.client.post(f"{path}/{other}", params={"pid": detail["pid"]}, content=other)
        assert switched.status_code == 204, switched.text
        assert (await script.map(name))["detail"]["tid"] == other
        await script.client.post(f"{path}/{detail['tid']}", params={"pid": detail["pid"]}, content=detail["tid"])
        assert (await script.map(name))["detail"]["tid"] == detail["tid"]
    finally:
        await script.act("1", name, parameters={"skipInitialSync": True})


async def test_the_connection_set_names_both_sides(script: Script) -> None:
    found = await script.get(f"/api/ConnectionSet/{script.cname}")
    assert {one["targetType"] for one in found["environments"].values()} == {"AX", "CRM"}
    dataverse = next(one for one in found["environments"].values() if one["targetType"] == "CRM")
    accounts = next(schema for schema in dataverse["schemas"] if schema["name"] == "accounts")
    (key,) = [key["fields"] for key in accounts["keys"] if key["name"].lower() == "userkeys"]
    assert "accountnumber" in key
    legal_entities = found["dualWriteDetail"]["legalEntityMappings"]["mappings"]
    assert [one["left"]["id"] for one in legal_entities] == [
        one["firstPartition"] for one in found["dataPartitionMappings"]
    ]
    assert found.keys() == {
        "name", "displayName", "environments", "targetTypeList", "dataPartitionMappings", "tenant", "forDualWrite",
        "dualWriteDetail", "bypassApiHubConnector", "id", "owner", "createdDateTime", "tags",
    }  # fmt: skip
    assert found["dualWriteDetail"].keys() == {
        "trialExpiresOn", "legalEntityMappings", "conflictResolution", "alertSettings", "autoPauseThresholdSettings",
        "isOnFirstPartyAuth", "isSolutionAware", "solutionAwareRequests", "actionDetails", "errorTableNames",
        "dualWriteScheduleLogicAppRunId", "scheduledRequests", "isTrialEnvironment", "errorTableUpdateInProgress",
        "catchupCleanupTriggerName",
    }  # fmt: skip
    keys = {"integrationKeys": {"accounts": key}, "datasetName": "CRM"}
    assert await script.post("/api/dataset/CRM/IntegrationKeys", keys)
    unknown = await script.client.post("/api/dataset/CRM/IntegrationKeys", json={"integrationKeys": {"none": ["a"]}})
    assert unknown.status_code == 404
    assert (await script.client.get("/api/ConnectionSet/none")).status_code == 404


async def test_a_reset_stops_everything(templates: dict[str, str], new_database: Callable[..., Awaitable[str]]) -> None:
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=2, **addresses))
    try:
        async with client_of(environment) as client:
            script = Script(client)
            await script.connect()
            path = f"/api/ConnectionSet/{script.cid}/Reset"
            refused = await client.post(path, params={"targetType": "AX", "forceReset": "false"}, json={})
            assert refused.json()["code"] == "table_map_not_stopped"
            request_id = (await script.post(path, {}, targetType="AX", forceReset="true"))["requestId"]
            for _ in range(600):
                maps = await script.get(f"{BASE}/Status/{request_id}")
                if maps[0]["detail"]["lastRequest"]["state"] != "1":
                    break
                await asyncio.sleep(0.05)
            assert {one["detail"]["state"] for one in maps} == {"6"}
    finally:
        await environment.close()
