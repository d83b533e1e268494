"""What the handlers of the Web API share: the app, its relations and the plans of its queries."""

from __future__ import annotations

from functools import lru_cache

from isthmus.dataverse.app import DataverseApp
from isthmus.dataverse.system_users import Fetch, SystemUser
from isthmus.dataverse.webapi.preferences import MAX_PAGE_SIZE, Preferences
from isthmus.query.model import Caller
from isthmus.query.planner import Planner
from isthmus.query.record_json import ASSOCIATED_NAVIGATION, FORMATTED_VALUE, LOOKUP_LOGICAL_NAME, WireOptions

COUNT_LIMIT = 5000
"""Dataverse counts no further."""


class Service:
    """Belongs to one version of the catalog."""

    def __init__(self, app: DataverseApp) -> None:
        self.app = app
        self.catalog = app.catalog
        self.relations = app.relations
        self.planner = Planner(self.relations, "dataverse", page_size=MAX_PAGE_SIZE, count_limit=COUNT_LIMIT + 1)

    @property
    def fetch(self) -> Fetch:
        """Reads outside a transaction."""
        return self.app.pool.fetch


@lru_cache(maxsize=1024)
def caller_of(user: SystemUser) -> Caller:
    """The caller as query functions such as EqualUserId know it."""
    return Caller(user_id=user.id, business_unit_id=user.business_unit)


@lru_cache(maxsize=512)
def wire_options(preferences: Preferences) -> WireOptions:
    """Which annotations the records of an answer hold."""
    if not preferences.annotations:
        return WireOptions()
    return WireOptions(
        formatted_values=preferences.wants(FORMATTED_VALUE),
        lookup_logical_names=preferences.wants(LOOKUP_LOGICAL_NAME),
        associated_navigations=preferences.wants(ASSOCIATED_NAVIGATION),
    )
