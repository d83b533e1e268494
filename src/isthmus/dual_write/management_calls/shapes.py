"""The JSON of the management calls: maps, templates, requests, with their numbers for states and actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from isthmus.dual_write.fence import State
from isthmus.dual_write.mapping_document import DATAVERSE, FINOPS, version_document
from isthmus.dual_write.operations import FROM
from isthmus.dual_write.requests import Request, RequestState
from isthmus.dual_write.shipped_versions import registration_id
from isthmus.dual_write.version_rows import Version
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.table_map import TableMap

Document = dict[str, Any]

STATES: Mapping[State, str] = {
    "initializing": "2",
    "resuming": "3",
    "running": "4",
    "paused": "5",
    "not_running": "6",
}
ACTIONS: Mapping[str, str] = {
    "run": "1",
    "stop": "4",
    "pause": "5",
    "resume": "6",
    "init": "8",
    "restore_templates": "2",
}
REQUEST_STATES: Mapping[RequestState, str] = {
    "waiting": "1",
    "running": "1",
    "completed": "2",
    "error": "3",
    "cancelled": "3",
}
WORDS: Mapping[str, Literal["run", "stop", "pause", "resume", "init"]] = {
    "1": "run",
    "start": "run",
    "4": "stop",
    "stop": "stop",
    "5": "pause",
    "pause": "pause",
    "6": "resume",
    "resume": "resume",
    "8": "init",
    "init": "init",
}
"""Actions as callers write them: by number or by word."""


class WireRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was asked of a map: `state` 1 is waiting, 2 completed, 3 error."""

    request_id: UUID
    action: str
    created_on: datetime
    modified_on: datetime
    state: str
    error_message: str | None
    error_uri: str | None = None
    root_activity_id: UUID


class Template(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A version of a map; `author` is its publisher."""

    id: UUID
    name: str
    read_only: bool
    display_name: str
    author: str
    version: dict[str, int]
    tags: list[str] = []
    description: str = ""
    created_date_time: datetime


class WireEnd(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The entity or table of a map."""

    target_type: str
    name: str
    display_name: str


class MapDetail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """State and versions of a map. `tid` is the id of the version it runs in, `pid` that of its project."""

    tid: UUID
    t_name: str
    tags: list[str] = []
    templates: list[Template]
    template: Template
    pid: UUID
    last_request: WireRequest | None
    last_requests: list[WireRequest]
    state: str
    actions: list[str]
    is_project_deleted: bool = False


class WireMap(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A table map as the calls show it."""

    left_entity: WireEnd
    right_entity: WireEnd
    detail: MapDetail


def wire_request(request: Request) -> WireRequest:
    """A request as the calls show it."""
    return WireRequest(
        request_id=request.id,
        action=ACTIONS.get(request.action, request.action),
        created_on=request.requested_at,
        modified_on=request.ended_at or request.started_at or request.requested_at,
        state=REQUEST_STATES[request.state],
        error_message=None if request.state == "completed" else request.message,
        root_activity_id=request.id,
    )


def template_of(version: Version) -> Template:
    """A version as the calls show it."""
    return Template(
        id=version.id,
        name=version.table_map,
        read_only=version.is_shipped,
        display_name=version.table_map,
        author=version.publisher,
        version=_numbers(version.version),
        created_date_time=version.saved_at,
    )


def wire_map(
    table_map: TableMap, catalog: Catalog, state: State, versions: Sequence[Version], requests: Sequence[Request]
) -> WireMap:
    """A table map as the calls show it; `requests` newest first."""
    entity, table = catalog.entity(table_map.entity), catalog.table(table_map.table)
    chosen = next((version for version in versions if version.is_chosen), versions[0])
    shown = [wire_request(request) for request in requests]
    return WireMap(
        left_entity=WireEnd(
            target_type=FINOPS, name=entity.collection, display_name=entity.label or entity.public_name
        ),
        right_entity=WireEnd(target_type=DATAVERSE, name=table.entity_set_name, display_name=table.display_name),
        detail=MapDetail(
            tid=chosen.id,
            t_name=table_map.name,
            templates=[template_of(version) for version in versions],
            template=template_of(chosen),
            pid=registration_id(table_map.name),
            last_request=shown[0] if shown else None,
            last_requests=shown,
            state=STATES[state],
            actions=[ACTIONS[action] for action, states in FROM.items() if state in states],
        ),
    )


def action_of(text: str | int) -> Literal["run", "stop", "pause", "resume", "init"]:
    """The action that a number or word means. Rejected (`action_unknown`)."""
    action = WORDS.get(str(text).lower())
    if action is None:
        raise Rejected(
            f"There is no action '{text}': 1 starts, 4 stops, 5 pauses, 6 resumes, 8 prepares.",
            code="action_unknown",
            field="action",
        )
    return action


def project_name(pid: UUID, cid: UUID) -> str:
    """The name of the project of a map."""
    return f"DWM-{pid}-{cid}"


def _numbers(version: str) -> dict[str, int]:
    try:
        return version_document(version)
    except ValueError:
        return version_document("0.0.0.0")
