"""Numbers for keys left empty, and RecIds: never twice, whatever becomes of the save."""

from __future__ import annotations

import asyncio

import pytest
from tests.finops.conftest import CUSTOMERS, Create, Read

from isthmus.errors import Rejected
from isthmus.finops.app import FinopsApp
from isthmus.finops.number_sequences import Counters, formatted
from isthmus.finops.schema import FIRST_RECID, RECID_BLOCK


@pytest.mark.parametrize(
    ("pattern", "number", "expected"),
    [("C-####", 7, "C-0007"), ("####", 123456, "123456"), ("A##B", 1, "A01B"), ("none", 1, "none")],
)
def test_formatted(pattern: str, number: int, expected: str) -> None:
    assert formatted(pattern, number) == expected


async def test_numbers_taken_at_once_by_several_processes_differ(app: FinopsApp, database: str) -> None:
    counters = [await Counters.open(database, app.catalog.number_sequences) for _ in range(3)]
    try:
        taken = await asyncio.gather(*(counter.numbers("Vendor", "usmf", 4) for counter in counters for _ in range(10)))
        numbers = [number for batch in taken for number in batch]
        assert len(set(numbers)) == len(numbers) == 120
    finally:
        for counter in counters:
            await counter.close()


async def test_a_company_specific_sequence_counts_per_company(app: FinopsApp) -> None:
    first = await app.counters.numbers("Project", "usmf", 2)
    other = await app.counters.numbers("Project", "demf", 1)
    assert (first, other) == (["PRJ-00000001", "PRJ-00000002"], ["PRJ-00000001"])
    one = await app.counters.numbers("Worker", "usmf", 1)
    assert await app.counters.numbers("Worker", "demf", 1) != one


async def test_a_number_of_a_refused_save_is_not_given_again(new_customer: Create, read: Read) -> None:
    before = await read(CUSTOMERS, await new_customer())
    with pytest.raises(Rejected):
        await new_customer(customergroupid="none")
    after = await read(CUSTOMERS, await new_customer())
    assert int(after["customeraccount"][2:]) == int(before["customeraccount"][2:]) + 2


async def test_recids_of_several_processes_differ(app: FinopsApp, database: str) -> None:
    counters = [await Counters.open(database, app.catalog.number_sequences) for _ in range(2)]
    try:
        taken: list[int] = []
        for count in (1, RECID_BLOCK, 3 * RECID_BLOCK + 1):
            for counter in counters:
                taken += await counter.take_recids(count)
        assert len(set(taken)) == len(taken)
        assert min(taken) >= FIRST_RECID
    finally:
        for counter in counters:
            await counter.close()


async def test_recids_that_a_message_did_not_use_serve_the_next(app: FinopsApp) -> None:
    recids = await app.counters.take_recids(5)
    used, left = recids.popleft(), list(recids)
    app.counters.return_recids(recids)
    assert list(await app.counters.take_recids(4)) == left
    assert used not in left
    assert not recids
