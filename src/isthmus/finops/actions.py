"""Actions of data entities, by name: what can be asked of an entity set or a record besides reading and writing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from isthmus import __version__
from isthmus.apps.change import Operation
from isthmus.apps.context import Context
from isthmus.apps.message import Message, Row
from isthmus.errors import Rejected

if TYPE_CHECKING:
    from isthmus.finops.app import FinopsApp

Binding = Literal["collection", "record"]
COLLECTION: Binding = "collection"
RECORD: Binding = "record"

Handler = Callable[["FinopsApp", Context, int | None, Mapping[str, Any]], Awaitable[Any]]
"""Given the app, the context of the request, the RecId of the record it is bound to, parameters by lower-case name."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An action, bound to an entity set (`collection`) or to its records; `parameters` and `result` give Edm types."""

    name: str
    handler: Handler
    binding: Binding
    collection: str
    parameters: tuple[tuple[str, str], ...] = ()
    result: str | None = None


async def _version(app: FinopsApp, context: Context, recid: int | None, parameters: Mapping[str, Any]) -> str:
    return __version__


async def _modules(app: FinopsApp, context: Context, recid: int | None, parameters: Mapping[str, Any]) -> list[str]:
    """One line per solution, in the form that F&O gives its modules."""
    return [
        f"Name: {solution.name} | Version: {solution.version} | Module: {solution.name} | "
        f"Publisher: {solution.publisher} | DisplayName: {solution.friendly_name}"
        for solution in app.catalog.solutions.values()
    ]


async def _set_on_hold(app: FinopsApp, context: Context, recid: int | None, parameters: Mapping[str, Any]) -> None:
    """Change the hold of a customer: from No to All, nothing more is sold to it. Rejected without a status."""
    status = parameters.get("onholdstatus")
    if not isinstance(status, str):
        raise Rejected(
            "The action setOnHold needs the parameter onHoldStatus, a member of CustVendorBlocked.",
            code="parameter_missing",
        )
    row = Row(id=recid, values={"onholdstatus": status})
    await app.execute(context, Message(operation=Operation.UPDATE, table="CustCustomerV3Entity", rows=[row]))


ACTIONS: tuple[Action, ...] = (
    *(
        Action(
            name=name, handler=_version, binding=COLLECTION, collection="DataManagementEntities", result="Edm.String"
        )
        for name in ("GetApplicationVersion", "GetPlatformBuildVersion", "GetApplicationBuildVersion")
    ),
    Action(
        name="GetInstalledModules",
        handler=_modules,
        binding=COLLECTION,
        collection="SystemNotifications",
        result="Collection(Edm.String)",
    ),
    Action(
        name="setOnHold",
        handler=_set_on_hold,
        binding=RECORD,
        collection="CustomersV3",
        parameters=(("onHoldStatus", "Microsoft.Dynamics.DataEntities.CustVendorBlocked"),),
    ),
)
"""All actions. `DataManagementEntities` and `SystemNotifications` have nothing but theirs."""

_BY_NAME = {(action.collection.lower(), action.name.lower()): action for action in ACTIONS}


def find_action(collection: str, name: str) -> Action | None:
    """The action of this name that is bound to this entity set or its records, in any case."""
    return _BY_NAME.get((collection.lower(), name.lower()))
