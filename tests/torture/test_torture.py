"""Both or neither, under torture; and that the torture notices when a clause of the protocol is missing.

`make torture` runs all of it. The normal suite runs one short round.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.torture.rounds import Torture, all_points
from tests.torture.running import Running

from isthmus.store.crash_points import NAMES

KILLS = int(os.environ.get("TORTURE_KILLS", "500"))
MAP_ROUNDS = int(os.environ.get("TORTURE_MAP_ROUNDS", "4"))
SPELLS = 8
SEED = int(os.environ.get("TORTURE_SEED", "0")) or secrets.randbelow(2**31)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not pytest's own, which other runs of pytest close to other accounts and clear away."""
    with TemporaryDirectory(prefix="isthmus-torture-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


@asynccontextmanager
async def environment(directory: Path, mutant: str = "") -> AsyncIterator[Running]:
    """An environment on a directory of its own, stopped afterwards whatever became of it."""
    directory.mkdir(mode=0o711, exist_ok=True)
    running = Running(directory / "e", mutant)
    try:
        yield running
    finally:
        await running.down()


@pytest.mark.timeout(240)
async def test_a_short_round(tmp_path: Path) -> None:
    async with environment(tmp_path) as running:
        torture = Torture(running, SEED, writers=6, records=12)
        await torture.start()
        figures = await torture.round(15, ("after_decision",), seconds=35)
        print(f"\n{torture.report.text()}")
        assert figures.acknowledged > 50
        assert sum(torture.report.kills.values()) >= 8
        assert figures.faults == 0, torture.report.text()


@pytest.mark.torture
async def test_hundreds_of_kills(tmp_path: Path) -> None:
    """The figures of this are the ones to be quoted."""
    points = all_points()
    per_round = 5
    async with environment(tmp_path) as running:
        torture = Torture(running, SEED)
        await torture.start()
        rounds = 0
        while sum(torture.report.kills.values()) < KILLS or rounds * per_round < len(points):
            first = rounds * per_round % len(points)
            here = tuple(points[(first + offset) % len(points)] for offset in range(per_round))
            await torture.round(12 * per_round, here)
            rounds += 1
            print(
                f"\n--- round {rounds}: {', '.join(p or 'at random' for p in here)}\n{torture.report.text()}",
                flush=True,
            )
        report = torture.report
        assert report.figures.faults == 0, report.text()
        assert set(NAMES) <= report.kills.keys()
        assert report.figures.unexpected == 0, report.text()
        assert report.figures.acknowledged > 5 * KILLS


@pytest.mark.torture
async def test_table_maps_paused_resumed_stopped_and_run(tmp_path: Path) -> None:
    """Whatever an administrator does with them meanwhile: nothing apart, nothing lost, nothing comes back."""
    async with environment(tmp_path) as running:
        torture = Torture(running, SEED, writers=6, records=16)
        await torture.start(slow_share=0.02, slow_seconds=0.3)  # for each row of a batch
        for number in range(1, MAP_ROUNDS + 1):
            await torture.table_map_round(SPELLS)
            print(f"\n--- table maps, round {number}\n{torture.report.text()}", flush=True)
        report = torture.report
        assert report.figures.faults == 0, report.text()
        assert report.figures.unexpected == 0, report.text()
        assert len(report.spells) == 3
        assert await running.queued() == 0


@pytest.mark.torture
@pytest.mark.parametrize(
    ("mutant", "point", "broken"),
    [
        ("no_fence", "", {"records_apart"}),
        ("partner_first", "after_prepare", {"records_apart"}),
        ("decision_late", "after_decision", {"records_apart"}),
        ("answer_apart", "after_decision", {"duplicates", "refused_yet_applied"}),
    ],
)
async def test_the_torture_notices_a_missing_clause(tmp_path: Path, mutant: str, point: str, broken: set[str]) -> None:
    """With the clause gone the very same rounds must come to faults; one that never does would have no teeth."""
    async with environment(tmp_path, mutant) as running:
        torture = Torture(running, SEED, writers=6, records=12)
        await torture.start(slow_share=0.5)
        for _ in range(6):
            figures = await torture.round(12, (point,), seconds=60)
            if any(getattr(figures, name) for name in broken):
                break
        print(f"\n--- {mutant}\n{torture.report.text()}", flush=True)
        assert any(getattr(torture.report.figures, name) for name in broken), torture.report.text()


@pytest.mark.torture
async def test_the_torture_notices_a_missing_record_lock(tmp_path: Path) -> None:
    """Without it nothing comes apart, but opposite writers wait for each other until they are timed out."""
    seen = {}
    for mutant in ("", "no_record_lock"):
        async with environment(tmp_path / (mutant or "whole"), mutant) as running:
            torture = Torture(running, SEED, writers=8, records=3)
            await torture.start(slow_share=0)
            seen[mutant] = await torture.write(20)
    whole, spoiled = seen[""], seen["no_record_lock"]
    for name, figures in seen.items():
        print(
            f"\n--- {name or 'whole'}: {figures.acknowledged} acknowledged, {figures.refused} refused, "
            f"{figures.lock_timeouts} of them for a lock held too long, {figures.faults} faults",
            flush=True,
        )
    assert whole.faults == 0 and whole.lock_timeouts == 0
    assert spoiled.lock_timeouts > 0 and spoiled.acknowledged < whole.acknowledged * 0.7
