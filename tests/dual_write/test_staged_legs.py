"""The two forms of a projection say the same: JSON of single records for live sync, columns of all for COPY."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.support.both_halves import BothHalves

from isthmus import solutions
from isthmus.apps.principal import Half
from isthmus.dual_write.leg import Projected
from isthmus.dual_write.legs import Legs

LEGS = Legs(solutions.catalog())
NAMES = sorted(LEGS.by_map)

_exactly = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_projected = msgspec.json.Decoder(list[Projected]).decode


@pytest.mark.parametrize(("name", "half"), NAMES)
async def test_staged_records_are_what_live_sync_projects(both: BothHalves, name: str, half: Half) -> None:
    leg = LEGS.by_map[name, half]
    pool = both.apps[half].pool.origin
    found = await pool.fetch(f"select to_json(r)::text as record from ({leg.stage(None)}) r")
    staged = {str(record["_id"]): record for record in (_exactly(row["record"]) for row in found)}
    root = leg.root.lower()
    key = both.catalog.table(leg.root).primary_id if half == "dataverse" else "recid"
    ids = [row[0] for row in await pool.fetch(f'select "{key}" from {half}."{root}"')]
    projected = {str(r.id): r for r in _projected(await pool.fetchval(leg.project, ids)) if r.passes}
    assert staged.keys() == projected.keys()
    for id_, record in staged.items():
        expected = projected[id_]
        assert (record["_company"], record["_key"], record["_faults"]) == (
            expected.company,
            expected.key,
            expected.faults,
        )
        values = {column: value for column, value in record.items() if not column.startswith("_")}
        for column, value in values.items():
            numeric = leg.staged[column] == "numeric" and value is not None
            assert (format(Decimal(value), "f") if numeric else value) == expected.values[column], column
        assert values.keys() == expected.values.keys()
    types = {column: type_ for column, type_ in leg.staged.items() if not column.startswith("_")}
    assert all(values.keys() == types.keys() for values in ({**r.values} for r in projected.values()))


@pytest.mark.parametrize(("name", "half"), NAMES)
async def test_only_the_companies_asked_for_are_staged(both: BothHalves, name: str, half: Half) -> None:
    leg = LEGS.by_map[name, half]
    pool = both.apps[half].pool.origin
    companies = await pool.fetch(f"select distinct r._company from ({leg.stage(['usmf'])}) r")
    assert {row[0] for row in companies} <= {"usmf"}
    assert await pool.fetchval(f"select count(*) from ({leg.stage(['its none'])}) r") == 0
