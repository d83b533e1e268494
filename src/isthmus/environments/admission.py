"""Who may manage table maps: everybody whom the Dataverse half knows as a system user."""

from __future__ import annotations

import asyncpg

from isthmus.apps.principal import Principal
from isthmus.dataverse.app import DataverseApp
from isthmus.errors import Rejected, Unavailable
from isthmus.store.pool import fetch

_ADMITTED = "select from isthmus.admitted where object_id = $1"
_ADMIT = "insert into isthmus.admitted (object_id) values ($1) on conflict do nothing"
_DISMISS = "delete from isthmus.admitted where object_id = $1"


class Admission:
    """Admits callers; while Dataverse is away, those who were admitted when they came last, to any process."""

    def __init__(self, dataverse: DataverseApp, control: asyncpg.Pool) -> None:
        self._dataverse = dataverse
        self._control = control
        self._noted: set[str] = set()

    async def __call__(self, principal: Principal) -> None:
        """Raises Rejected (`user_not_member`, `user_disabled`), or Unavailable when nobody can tell."""
        caller = principal.object_id
        try:
            await self._dataverse.users.of(self._dataverse.pool.fetch, principal)
        except Rejected:
            self._noted.discard(caller)
            await self._control.execute(_DISMISS, caller)
            raise
        except Unavailable:
            if not await fetch(self._control, _ADMITTED, caller):
                raise
        else:
            if caller not in self._noted:
                await self._control.execute(_ADMIT, caller)
                self._noted.add(caller)
