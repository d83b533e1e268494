"""Unbound functions of the service: who am I, which version, which languages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from isthmus.apps.odata_answer import Answer, json_answer
from isthmus.dataverse.system_users import SystemUser
from isthmus.dataverse.webapi.definitions import LANGUAGE
from isthmus.dataverse.webapi.request import Request
from isthmus.dataverse.webapi.service import Service

VERSION = "9.2.25000.00000"
"""The version of Dataverse's Web API that the answers follow; clients compare its first two numbers."""

CRM = "Microsoft.Dynamics.CRM."

Function = Callable[[Service, Request, SystemUser], Awaitable[Answer]]


async def who_am_i(service: Service, request: Request, user: SystemUser) -> Answer:
    """WhoAmI: the ids of the caller's system user, its business unit and the organization."""
    organization = await service.fetch("select organizationid from dataverse.organization limit 1")
    return json_answer(
        {
            "@odata.context": f"{request.base}/$metadata#{CRM}WhoAmIResponse",
            "BusinessUnitId": str(user.business_unit),
            "UserId": str(user.id),
            "OrganizationId": str(organization[0][0]),
        }
    )


async def retrieve_version(service: Service, request: Request, user: SystemUser) -> Answer:
    """RetrieveVersion."""
    context = f"{request.base}/$metadata#{CRM}RetrieveVersionResponse"
    return json_answer({"@odata.context": context, "Version": VERSION})


async def retrieve_available_languages(service: Service, request: Request, user: SystemUser) -> Answer:
    """RetrieveAvailableLanguages: locale ids."""
    context = f"{request.base}/$metadata#{CRM}RetrieveAvailableLanguagesResponse"
    return json_answer({"@odata.context": context, "LocaleIds": [LANGUAGE]})


FUNCTIONS: dict[str, Function] = {
    "whoami": who_am_i,
    "retrieveversion": retrieve_version,
    "retrieveavailablelanguages": retrieve_available_languages,
}
"""By lower-case name; the namespace may stand in front."""


def function_named(name: str) -> Function | None:
    """The function of that name, None when there is none."""
    return FUNCTIONS.get(name.lower().removeprefix(CRM.lower()))
