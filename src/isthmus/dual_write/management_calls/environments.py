"""The environment: its connection set, companies and keys; reset of everything that is not a definition."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

import isthmus
from isthmus.dual_write.alert_settings import to_setting
from isthmus.dual_write.alerts import AlertRules
from isthmus.dual_write.editing import Editing
from isthmus.dual_write.management_api.endpoint import Caller, endpoint
from isthmus.dual_write.management_calls.project import Projects
from isthmus.dual_write.management_calls.schemas import Document, environments
from isthmus.dual_write.mapping_document import DATAVERSE, FINOPS
from isthmus.dual_write.operations import Operations
from isthmus.errors import NotFound, Rejected
from isthmus.store.pool import Pool

BASE = "/api/DualWriteManagement/1.0"

_COMPANIES = "select cdm_companyid::text as id, cdm_companycode as code from dataverse.cdm_company order by 2"


class EnvironmentsQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A half, and its host name; a port or a scheme makes no difference."""

    target_type: str = "AX"
    identifier: str = ""


class ResetQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`forceReset`: table maps that run are stopped first."""

    target_type: str = "AX"
    force_reset: bool = False


class IntegrationKeysBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Key columns by table set."""

    integration_keys: dict[str, list[str]]
    dataset_name: str = ""


class EnvironmentCalls:
    """The environment as a connection set."""

    def __init__(
        self, projects: Projects, operations: Operations, editing: Editing, alerts: AlertRules, dataverse: Pool
    ) -> None:
        self._projects = projects
        self._operations = operations
        self._editing = editing
        self._alerts = alerts
        self._dataverse = dataverse

    @endpoint("GET", f"{BASE}/Version")
    async def show_version(self) -> str:
        """Show the version of the service."""
        return isthmus.__version__

    @endpoint("GET", f"{BASE}/Environments")
    async def list_environments(self, query: EnvironmentsQuery, caller: Caller) -> list[Document]:
        """List the connection sets of a host: the one of this environment, or none."""
        # Both halves answer on two ports, with and without TLS: the host says which environment is meant.
        if query.identifier and _host(query.identifier) != _host(caller.base):
            return []
        return [
            {
                "cid": str(self._projects.id),
                "cname": self._projects.name,
                "targetType": query.target_type,
                "displayName": self._projects.name,
                "detail": {"isSolutionAware": True},
                "powerAppsEnvironment": self._projects.name,
            }
        ]

    @endpoint("GET", "/api/ConnectionSet/{name}")
    async def show_connection_set(self, name: str, caller: Caller) -> Document:
        """Show the connection set: both environments with the schemas that are mapped, companies, alerts."""
        self._projects.check_connection_set(name)
        catalog = await self._projects.catalog()
        shown = environments(catalog.table_maps.values(), catalog, self._projects.name, caller.base)
        versions = [version for each in (await self._projects.versions()).values() for version in each]
        companies = [(row["id"], row["code"]) for row in await self._dataverse.fetch(_COMPANIES)]
        return {
            "name": self._projects.name,
            "displayName": self._projects.name,
            "id": str(self._projects.id),
            "environments": {environment["name"]: environment for environment in shown},
            "targetTypeList": [FINOPS, DATAVERSE],
            "dataPartitionMappings": [
                {
                    "firstPartitionEnvName": FINOPS,
                    "firstPartition": code,
                    "secondPartitionEnvName": DATAVERSE,
                    "secondPartition": code,
                }
                for _, code in companies
            ],
            "tenant": None,
            "forDualWrite": True,
            "dualWriteDetail": {
                "trialExpiresOn": None,
                "legalEntityMappings": {
                    "leftEnvironment": FINOPS,
                    "rightEnvironment": DATAVERSE,
                    "mappings": [
                        {"left": {"name": code, "id": code}, "right": {"name": code, "id": id_}}
                        for id_, code in companies
                    ],
                },
                "conflictResolution": {"option": "1", "master": DATAVERSE},
                "alertSettings": [to_setting(stored.rule) for stored in await self._alerts.list()],
                "autoPauseThresholdSettings": [],
                "isOnFirstPartyAuth": False,
                "isSolutionAware": True,
                "solutionAwareRequests": [],
                "actionDetails": [],
                "errorTableNames": [],
                "dualWriteScheduleLogicAppRunId": None,
                "scheduledRequests": [],
                "isTrialEnvironment": False,
                "errorTableUpdateInProgress": False,
                "catchupCleanupTriggerName": None,
            },
            "bypassApiHubConnector": True,
            "owner": None,
            "createdDateTime": min(version.saved_at for version in versions),
            "tags": [],
        }

    @endpoint("POST", "/api/ConnectionSet/{cid}/Reset")
    async def reset(self, cid: str, query: ResetQuery, caller: Caller) -> Document:
        """Stop all table maps and let them run in the versions that their solutions ship.

        Rejected (`table_map_not_stopped`) while one runs, unless `forceReset` is given. Versions that were saved, the
        activity log and alert rules stay: nothing is lost.
        """
        self._projects.check_connection_set(cid)
        by = caller.principal.object_id
        active = [name for name, state in (await self._operations.states()).items() if state != "not_running"]
        if active and not query.force_reset:
            raise Rejected(
                f"{len(active)} table maps are not stopped, among them '{active[0]}'. Stop them, or give forceReset.",
                code="table_map_not_stopped",
                field="forceReset",
            )
        request = await self._operations.reset(by=by)
        return {"requestId": str(request.id)}

    @endpoint("POST", "/api/dataset/{dataset}/IntegrationKeys")
    async def set_integration_keys(self, dataset: str, body: IntegrationKeysBody, caller: Caller) -> Document:
        """Set the integration keys of Dataverse tables, by their set names; those that stand already are left alone."""
        catalog = await self._projects.catalog()
        for set_name, key in body.integration_keys.items():
            table = catalog.table_of_set.get(set_name.lower())
            if table is None:
                raise NotFound(f"There is no table set '{set_name}'.", code="table_not_found", table=set_name)
            concerned = catalog.maps_of_table.get(table.logical_name, ())
            if any(list(table_map.integration_key) != key for table_map in concerned):
                await self._editing.set_integration_key(table.logical_name, key, caller.principal)
        return {"integrationKeys": body.integration_keys, "datasetName": body.dataset_name or dataset}


def _host(address: str) -> str:
    return (urlsplit(address if "://" in address else f"https://{address}").hostname or "").lower()
