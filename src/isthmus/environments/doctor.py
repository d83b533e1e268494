"""`isthmus doctor`: what is in doubt and what will become of it, and what keeps changes from flowing."""

from __future__ import annotations

from typing import Literal

import msgspec

from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.dual_write.findings import Finding
from isthmus.dual_write.why import Explanation
from isthmus.environments.databases import database_address
from isthmus.environments.environment import Environment
from isthmus.errors import Unavailable
from isthmus.store.connections import Connections, connect
from isthmus.store.migrate import migrations_waiting
from isthmus.store.recovery import InDoubt
from isthmus.store.transaction import DRIVER_ERRORS

OLD_SECONDS = 30.0
"""Age at which a prepared transaction is a fault: recovery has not reached its origin for that long."""

CONNECTIONS = 2
"""To each half in each pool: enough to look at it."""

_KINDS: dict[str, Literal["control", "half"]] = {"control": "control", "dataverse": "half", "finops": "half"}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `max_prepared_transactions` is by half; `record` explains the record that was asked for, unless a
    half is away."""

    link: str
    table_maps: int
    mode: str
    max_prepared_transactions: dict[str, int]
    in_doubt: list[InDoubt]
    findings: list[Finding]
    record: Explanation | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing needs a person: recovery keeps up, and no finding is an error."""
        too_old = any(item.age > OLD_SECONDS for item in self.in_doubt)
        stopped = self.record is not None and not self.record.flows
        return not too_old and not stopped and all(finding.level != "error" for finding in self.findings)


async def examine(settings: Settings, *, table_map: str | None, record: str | None, half: Half) -> Report:
    """Look at an environment, whether a server runs on it or not: at one table map or at all, and at one record.

    A half that is away is a finding. Unavailable when the control database is, or one is of an earlier version;
    NotFound for what is not there.
    """
    try:
        for name, kind in _KINDS.items():
            try:
                await _check_version(database_address(settings, name), name, kind)
            except ConnectionError:
                if kind == "control":
                    raise
        environment = await Environment.connect(msgspec.structs.replace(settings, pool_size=CONNECTIONS))
        try:
            return await _report(environment, table_map, record, half)
        finally:
            await environment.close()
    except DRIVER_ERRORS as error:
        raise Unavailable(f"A database does not answer: {error}. Start it, or run isthmus up.") from error


async def _check_version(address: str, name: str, kind: Literal["control", "half"]) -> None:
    connection = await connect(address)
    try:
        waiting = await migrations_waiting(connection, kind)
    finally:
        await connection.close()
    if waiting:
        raise Unavailable(
            f"100: the {name} database is of an earlier version, {', '.join(waiting)} did not run there. Run isthmus "
            "down, then isthmus up, which brings it up to date."
        )


async def _report(environment: Environment, table_map: str | None, record: str | None, half: Half) -> Report:
    dual_write = environment.dual_write
    findings = await dual_write.health.configuration()
    findings += await dual_write.health.table_maps(None if table_map is None else [table_map])
    pools: dict[Half, Connections] = {
        "dataverse": environment.dataverse_app.pool.origin,
        "finops": environment.finops_app.pool.origin,
    }
    away = {finding.half for finding in findings if finding.code == "half_away"}
    return Report(
        link=dual_write.link,
        table_maps=len(dual_write.legs.now.catalog.table_maps),
        mode="atomic",
        max_prepared_transactions={
            half: int(await pool.fetchval("show max_prepared_transactions"))
            for half, pool in pools.items()
            if half not in away
        },
        in_doubt=await environment.recovery.in_doubt(),
        findings=findings,
        record=await dual_write.why.explain(table_map, half, record) if table_map and record and not away else None,
    )
