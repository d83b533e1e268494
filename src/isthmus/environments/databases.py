"""The three databases of an environment: where they are, and bringing them up to date."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from isthmus.apps.principal import Half, Principal
from isthmus.config import CONTROL_DATABASE, DATAVERSE_DATABASE, FINOPS_DATABASE, Settings
from isthmus.dataverse import schema as dataverse_schema
from isthmus.dataverse.seed import seed
from isthmus.dual_write.shipped_versions import seed_versions
from isthmus.dual_write.state_rows import seed_states
from isthmus.environments.link import ensure_link
from isthmus.finops import schema as finops_schema
from isthmus.metadata.catalog import Catalog
from isthmus.store.embedded import EmbeddedPostgres
from isthmus.store.migrate import migrate

HALVES: tuple[Half, ...] = ("dataverse", "finops")


def database_address(settings: Settings, name: str) -> str:
    """DSN of 'control', 'dataverse' or 'finops': your own, or the embedded server's. Holds a password: never log it."""
    own = {"control": settings.control_dsn, "dataverse": settings.dataverse_dsn, "finops": settings.finops_dsn}[name]
    if own:
        return own
    embedded = {"control": CONTROL_DATABASE, "dataverse": DATAVERSE_DATABASE, "finops": FINOPS_DATABASE}[name]
    return EmbeddedPostgres(settings.data_dir / "postgresql").dsn(embedded)


async def migrate_all(settings: Settings, catalog: Catalog, principals: Iterable[Principal]) -> str:
    """Create and change what is missing or old in all three databases; the identifier of the link.

    `principals` are the users and applications that become system users of the Dataverse half.
    """
    control = await asyncpg.connect(database_address(settings, "control"))
    dataverse = await asyncpg.connect(database_address(settings, "dataverse"))
    finops = await asyncpg.connect(database_address(settings, "finops"))
    try:
        await migrate(control, "control")
        await migrate(dataverse, "half")
        await migrate(finops, "half")
        # Before anything is made in them: a wrong address must not leave tables in somebody else's database.
        link = await ensure_link(control, {"dataverse": dataverse, "finops": finops})
        await dataverse_schema.migrate(dataverse, catalog)
        await seed(dataverse, catalog, principals)
        await finops_schema.migrate(finops, catalog)
        for half in (finops, dataverse):
            await seed_states(half, catalog.table_maps)
        await seed_versions(dataverse, catalog)
        return link
    finally:
        for connection in (control, dataverse, finops):
            await connection.close()
