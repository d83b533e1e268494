"""The JSON of one map as FieldMappings answers it: its definition, both schemas, and what a project has besides.

Members that say something about a service of which there is none here are null.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from isthmus.dual_write.management_calls.schemas import Document, environments
from isthmus.dual_write.management_calls.shapes import project_name
from isthmus.dual_write.mapping_document import FINOPS, document
from isthmus.dual_write.schema_drift import Drift
from isthmus.dual_write.shipped_versions import registration_id
from isthmus.dual_write.version_rows import Version
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap

_PROJECT: Document = {
    "projectState": None,
    "isPQOnlineFlow": False,
    "maxCrmIo": 0,
    "useCrmOdataExport": False,
    "createImportErrorFile": False,
    "autoRetryFailedImportRecords": False,
    "dataManagementOperation": None,
    "tenant": None,
    "isDualWriteEnabled": True,
    "skipInitialSync": False,
    "areKeysMismatched": False,
    "authorizedUsers": [],
    "owner": None,
    "tags": [],
}
_TASK: Document = {
    "leftEnvironment": FINOPS,
    "centerEnvironment": None,
    "centerEnvironmentType": None,
    "leftPartitionName": None,
    "centerPartitionName": None,
}
"""A map has two ends, left and right, and is of all companies: nothing stands between, and no partition is named."""


def field_mappings(
    table_map: TableMap,
    catalog: Catalog,
    connection_set: tuple[str, UUID],
    base: str,
    versions: Sequence[Version],
    issues: Sequence[Drift],
) -> Document:
    """The whole definition of a map; `connection_set` is the name and the id of the one that it belongs to."""
    pid, (name, cid) = registration_id(table_map.name), connection_set
    whole = document(table_map, catalog)
    chosen = next((version for version in versions if version.is_chosen), versions[0])
    return {
        **whole,
        **_PROJECT,
        "id": str(pid),
        "name": project_name(pid, cid),
        "createdDateTime": msgspec.to_builtins(min(version.saved_at for version in versions)),
        "environments": environments([table_map], catalog, name, base),
        "entityMappingTasks": [
            {
                **task,
                **_TASK,
                "connectionSetName": name,
                "legs": [{**leg, "entityFileFormat": None} for leg in task["legs"]],
            }
            for task in whole["entityMappingTasks"]
        ],
        "templateIdentifier": {**whole["templateIdentifier"], "id": str(chosen.id)},
        "validationIssues": [
            {"code": issue.code, "field": issue.field, "message": f"{issue.what}. {issue.advice}"} for issue in issues
        ],
    }
