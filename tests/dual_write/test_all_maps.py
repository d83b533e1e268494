"""Every table map keeps both halves equal: generated records, written on either half, compared by the oracle.

Set ISTHMUS_MAP_EXAMPLES to search longer than a run of the suite does.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.both_halves import BothHalves, RowId
from tests.support.choices import Drawn, Seeded
from tests.support.generated_drafts import NoRecord, field_of, path_of
from tests.support.generated_records import Maker
from tests.support.oracle import NOTHING, Values
from tests.support.record_life import Life
from tests.support.world import COMPANIES
from tests.support.writing import create, delete, update

from isthmus import solutions
from isthmus.apps.principal import Half
from isthmus.clock import now
from isthmus.dataverse import messages
from isthmus.errors import Rejected
from isthmus.metadata.table_map import TableMap

EXAMPLES = int(os.environ.get("ISTHMUS_MAP_EXAMPLES", "2"))

CATALOG = solutions.catalog()
MAPS = [CATALOG.table_maps[name] for name in sorted(CATALOG.table_maps)]
PARTNER: dict[Half, Half] = {"finops": "dataverse", "dataverse": "finops"}
LEGS = [(table_map.name, half) for table_map in MAPS for half in BothHalves.halves_of(table_map)]

generated = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    # Shrinking would run against a database that the failed examples have changed.
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def test_all_published_maps_are_here() -> None:
    assert len(MAPS) == 135
    assert len(LEGS) == 242


@pytest.mark.parametrize(("name", "half"), LEGS)
@generated
@given(data=st.data())
async def test_records_of_a_map_are_equal_on_both_halves(both: BothHalves, name: str, half: Half, data: Any) -> None:
    life = Life(both, name, Drawn(data))
    try:
        await life.create(half)
        await life.update(half)
        await life.update(half)
        if PARTNER[half] in both.halves_of(life.table_map):
            await life.update(PARTNER[half])
            await life.update(half)
            await life.delete(life.choices.one_of([half, PARTNER[half]]))
        else:
            await life.delete(half)
    finally:
        await life.clean_up()


async def test_the_time_of_an_update_crosses_with_it(both: BothHalves, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map may carry `modifiedon`, which nobody gives and which every update sets."""
    life = Life(both, "msmrw_guides - Mixed reality guides entity", Seeded(1))
    try:
        await life.create("dataverse")
        later = now() + timedelta(days=2)
        monkeypatch.setattr(messages.update, "now", lambda: later)
        await update(both.apps["dataverse"], "msmrw_guide", {life.ids["dataverse"]: {"msmrw_name": "Renamed"}})
        pair = await both.assert_equal(life.table_map, "dataverse", life.ids["dataverse"])
        assert pair.record is not None
        assert pair.record["lastmodifiedon"] == later.replace(microsecond=0)
    finally:
        await life.clean_up()


@pytest.mark.parametrize(("name", "half"), LEGS)
async def test_every_entry_of_every_value_map_crosses(both: BothHalves, name: str, half: Half) -> None:
    """As many records as the longest value map has entries, in one transaction as far as there is room for them."""
    maker = both.maker(name)
    known = entries(maker, half)
    waiting = [
        {field: values[number % len(values)] for field, values in known.items()}
        for number in range(max(map(len, known.values()), default=0))
    ]
    while waiting:
        waiting = await entries_that_did_not_fit(both, maker, half, waiting)


async def entries_that_did_not_fit(both: BothHalves, maker: Maker, half: Half, pins: list[Values]) -> list[Values]:
    """Create a record for each of `pins`, compare, delete; those for which there was no room are left over."""
    company = COMPANIES[0] if maker.is_company_specific else None
    choices, taken = Seeded(len(pins)), await both.taken(maker)
    made: list[Values] = []
    for wanted in pins:
        try:
            draft, values = both.generate(maker, half, choices, company, taken, pins=wanted)
        except NoRecord:
            break
        taken.add(maker.key_of(draft.fields, company))
        made.append(values)
    assert made
    ids = await create(both.apps[half], both.name_on(half, maker.table_map), *made)
    try:
        for wanted, row_id in zip(pins, ids, strict=False):
            pair = await both.assert_equal(maker.table_map, half, row_id)
            assert pair.record is not None
            own = {field for field in wanted if maker.is_its_own(field)}
            assert {field: pair.record[field] for field in own} == {field: wanted[field] for field in own}
    finally:
        await delete(both.apps[half], both.name_on(half, maker.table_map), *ids)
    return pins[len(made) :]


def entries(maker: Maker, half: Half) -> dict[str, list[Any]]:
    """The values of each field that its value map knows, where the map carries it away from this half."""
    return {
        field_of(row): maker.known_values(field_of(row))
        for row in maker.pairs
        if row.transform.value_map is not None
        and field_of(row) in maker.fields_from(half)
        and field_of(row) not in maker.deciding_fields
        and not path_of(row).is_lookup
    }


def unmapped_members(table_map: TableMap) -> dict[str, int]:
    """Enum values, other than 0, that a value map on the way to Dataverse has no entry for, by field."""
    entity = CATALOG.entities[table_map.entity]
    found = {}
    for row in table_map.rows:
        if row.finops and row.to_dataverse and row.transform.value_map is not None:
            field = entity.field[row.finops.lower()]
            known = {symbol.lower() for symbol in row.transform.value_map}
            members = CATALOG.enums[field.enum].members if field.enum else ()
            unknown = [member.value for member in members if member.value and member.symbol.lower() not in known]
            if unknown:
                found[field.column] = unknown[-1]
    return found


@pytest.mark.parametrize("name", [table_map.name for table_map in MAPS if unmapped_members(table_map)])
async def test_a_value_without_an_entry_is_refused_on_both_halves(both: BothHalves, name: str) -> None:
    maker = both.maker(name)
    company = COMPANIES[0] if maker.is_company_specific else None
    before = await both.footprint(maker.table_map)
    for field, value in unmapped_members(maker.table_map).items():
        _, values = both.generate(maker, "finops", Seeded(7), company, await both.taken(maker))
        with pytest.raises(Rejected, match="no entry") as refusal:
            await create(both.apps["finops"], maker.table_map.entity, {**values, field: value})
        assert refusal.value.code == "value_map_entry_missing"
    assert await both.footprint(maker.table_map) == before


@pytest.mark.parametrize(
    ("name", "half"),
    [
        (t.name, h)
        for t in MAPS
        for h in BothHalves.halves_of(t)
        if (t.finops_filter if h == "finops" else t.dataverse_filter)
    ],
)
async def test_records_that_fail_the_filter_stay_home(both: BothHalves, name: str, half: Half) -> None:
    """Each way to fail it; a change that lets the record pass brings it over after all."""
    maker = both.maker(name)
    company = COMPANIES[0] if maker.is_company_specific else None
    table_map, choices = maker.table_map, Seeded(3)
    for number in range(len(maker.demands(half, passes=False))):
        _, values = both.generate(maker, half, choices, company, await both.taken(maker), passes=False, way=number)
        (row_id,) = await create(both.apps[half], both.name_on(half, table_map), values)
        pair = await both.assert_equal(table_map, half, row_id)
        assert (pair.row if half == "finops" else pair.record) is None
        passing = maker.passing_values(half)
        if passing:
            await update(both.apps[half], both.name_on(half, table_map), {row_id: passing})
            await both.assert_equal(table_map, half, row_id)
        await delete(both.apps[half], both.name_on(half, table_map), row_id)


@pytest.mark.parametrize(
    "name", [t.name for t in MAPS if CATALOG.tables[t.table].company_column and "dataverse" in BothHalves.halves_of(t)]
)
async def test_rows_without_a_company_stay_home(both: BothHalves, name: str) -> None:
    maker = both.maker(name)
    table_map = maker.table_map
    _, values = both.generate(maker, "dataverse", Seeded(5), COMPANIES[0], await both.taken(maker))
    specific = {
        column.name
        for column in maker.table.columns
        if column.type.is_lookup and any(CATALOG.tables[t].company_column for t in column.targets)
    }
    values = {n: v for n, v in values.items() if n not in specific or maker.table.column[n].required_level != "None"}
    values[maker.table.company_column or ""] = None
    both.sent.clear()
    (row_id,) = await create(both.apps["dataverse"], table_map.table, values)
    assert both.writes_to("finops", table_map.entity) == []
    await update(both.apps["dataverse"], table_map.table, {row_id: {n: v for n, v in values.items() if v is not None}})
    assert both.writes_to("finops", table_map.entity) == []
    await delete(both.apps["dataverse"], table_map.table, row_id)
    assert both.writes_to("finops", table_map.entity) == []


@pytest.mark.parametrize(("name", "half"), LEGS)
async def test_a_column_that_no_map_names_does_not_touch_the_partner(both: BothHalves, name: str, half: Half) -> None:
    life = Life(both, name, Seeded(11))
    await life.create(half)
    row_id = life.ids[half]
    values = unmapped_values(life.maker, half)
    if values:
        both.sent.clear()
        await update(both.apps[half], both.name_on(half, life.table_map), {row_id: values})
        assert [sent for sent in both.sent if sent.half != half] == []
        pair = await both.assert_equal(life.table_map, half, row_id)
        stands = pair.record if half == "finops" else pair.row
        assert stands is not None and {n: stands[n] for n in values} == values
    await life.delete(half)


def unmapped_values(maker: Maker, half: Half) -> Values:
    """A new value for one column of this half that no map reads; none where all are mapped."""
    if half == "dataverse":
        return {"importsequencenumber": 4711}
    named = {row.finops.lower() for m in MAPS if m.entity == maker.entity.aot_name for row in m.rows if row.finops}
    used = set(maker.domains) | {
        (source.table, name.lower())
        for entity in CATALOG.entities.values()
        for source in entity.data_sources
        for pair in source.on
        for name in pair
    }
    for field in maker.entity.fields:
        physical = (maker.entity.source[field.source].table, field.field.lower())
        is_root = field.source == maker.entity.root.name and field.column not in {"dataareaid", *named}
        is_free = physical not in used and field.type.value == "string" and maker.world.known(*physical, None) is None
        if is_root and is_free and not (field.read_only or field.mandatory or field.number_sequence):
            return {field.column: "unmapped"[: field.max_length]}
    return {}


def self_references(table_map: TableMap) -> list[str]:
    """Lookup columns by which a row of the map's table can refer to itself by its own key alone."""
    maker_paths = [path_of(row) for row in table_map.rows if row.finops and row.dataverse]
    keys = [key for key in table_map.integration_key if not key.endswith("cdm_companycode")]
    return [
        path.head
        for path in maker_paths
        if len(path.segments) == 2
        and [path.segments[1]] == keys
        and CATALOG.tables[table_map.table].column[path.head].targets == (table_map.table,)
    ]


@pytest.mark.parametrize("name", [table_map.name for table_map in MAPS if self_references(table_map)])
async def test_a_record_may_refer_to_itself(both: BothHalves, name: str) -> None:
    maker = both.maker(name)
    table_map = maker.table_map
    company = COMPANIES[1] if maker.is_company_specific else None
    fields = [field_of(row) for row in maker.pairs if path_of(row).head in self_references(table_map)]
    (key,) = maker.key_fields
    for half in both.halves_of(table_map):
        draft, values = both.generate(maker, half, Seeded(13), company, await both.taken(maker))
        row_id: RowId | None = None
        if half == "finops":
            values |= dict.fromkeys(fields, draft.fields[key])
        else:
            row_id = uuid4()
            values |= {maker.table.primary_id: row_id, **dict.fromkeys(self_references(table_map), row_id)}
        (row_id,) = await create(both.apps[half], both.name_on(half, table_map), values)
        pair = await both.assert_equal(table_map, half, row_id)
        assert pair.record is not None and pair.row is not None
        assert {pair.record[field] for field in fields} == {pair.record[key]}
        assert {pair.row[column] for column in self_references(table_map)} == {pair.row[maker.table.primary_id]}
        both_ids: dict[Half, UUID | int] = {
            "finops": pair.record["recid"],
            "dataverse": pair.row[maker.table.primary_id],
        }
        if PARTNER[half] in both.halves_of(table_map):
            half = PARTNER[half]
        nothing = dict.fromkeys(fields, NOTHING[maker.entity.field[key].type])
        emptied = nothing if half == "finops" else dict.fromkeys(self_references(table_map))
        await update(both.apps[half], both.name_on(half, table_map), {both_ids[half]: emptied})
        await both.assert_equal(table_map, half, both_ids[half], sent=frozenset(fields))
        await delete(both.apps[half], both.name_on(half, table_map), both_ids[half])
