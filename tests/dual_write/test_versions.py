"""Versions of table maps: saved, compared, chosen, rolled back; editing with its refusals; new table maps; drift."""

from __future__ import annotations

import asyncio
import itertools
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.callers import CALLER
from tests.support.writing import call, create, delete, update

from isthmus import solutions
from isthmus.apps.principal import Half
from isthmus.config import Settings
from isthmus.dual_write.edits import AddRow, ChangeRow, Edit, RemoveRow, SetProperty, edited
from isthmus.dual_write.findings import Finding
from isthmus.dual_write.health_check import HealthCheck
from isthmus.dual_write.legs import CurrentLegs, Legs
from isthmus.dual_write.mapping_document import mapping_json, properties_json, table_map_of_row
from isthmus.dual_write.operations import Operations, RunParameters
from isthmus.dual_write.schema_drift import drift_of, without_broken_rows
from isthmus.dual_write.schema_watch import hold_what_does_not_fit
from isthmus.dual_write.state_rows import read_generation
from isthmus.dual_write.validation import validate
from isthmus.dual_write.version_differences import differences
from isthmus.dual_write.version_rows import TABLE, shipped_id
from isthmus.dual_write.versions import current_table_maps
from isthmus.dual_write.why import Explanation, Why
from isthmus.environments.environment import Environment
from isthmus.errors import Conflict, NotFound, Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.files import document_of, table_map_of, write_table_map
from isthmus.metadata.table_map import ARROWS, Example, FieldMapping, TableMap, Transform
from isthmus.metadata.types import ColumnType
from isthmus.store.pool import Pool

GROUPS = "msdyn_customergroups - Customer groups"
ACCOUNTS = "accounts - Customers V3"
CATALOG = solutions.catalog()

numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def environment(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]]
) -> AsyncIterator[Environment]:
    """An environment of their own: these tests stop and change table maps."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=5, **addresses))
    try:
        await create(environment.finops_app, "OMLegalEntity", {"legalentityid": "USMF", "name": "USMF"})
        yield environment
    finally:
        await environment.close()


@pytest.fixture
async def stopped(environment: Environment) -> AsyncIterator[Environment]:
    """The customer groups are stopped, in their shipped version, and run again afterwards."""
    states = environment.dual_write.states
    await states.change([GROUPS], "not_running", by="test")
    yield environment
    await states.change([GROUPS], "not_running", by="test")
    await environment.dual_write.versions.choose(GROUPS, shipped_id(CATALOG.table_maps[GROUPS]), by="test")
    await states.change([GROUPS], "running", by="test")


async def save(environment: Environment, *edits: Edit, name: str = GROUPS, **options: Any) -> Any:
    dual_write = environment.dual_write
    changed = edited(await dual_write.versions.current(name), edits)
    return await dual_write.editing.save(changed, CALLER, **options)


async def new_group(environment: Environment, description: str) -> str:
    """A customer group made on the F&O half; the description of its counterpart."""
    group = f"G{next(numbers)}"
    await create(
        environment.finops_app,
        "CustCustomerGroupEntity",
        {"dataareaid": "usmf", "customergroupid": group, "description": description},
    )
    return await environment.dataverse_app.pool.origin.fetchval(
        "select msdyn_description from dataverse.msdyn_customergroup where msdyn_groupid = $1", group
    )


def row_of(table_map: TableMap, finops: str) -> int:
    return next(row.row for row in table_map.rows if row.finops == finops)


DESCRIPTION = row_of(CATALOG.table_maps[GROUPS], "DESCRIPTION")
UPPER = ChangeRow(
    row=DESCRIPTION, to=["DESCRIPTION", ">>", "msdyn_description", {"to_dataverse": "upper(DESCRIPTION) || '!'"}]
)

# As rows of the table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CATALOG.table_maps))
def test_shipped_map_is_the_same_after_the_json_of_tools(name: str) -> None:
    table_map = CATALOG.table_maps[name]
    back = table_map_of_row(
        name, table_map.version, mapping_json(table_map, CATALOG), properties_json(table_map), CATALOG
    )
    assert back == msgspec.structs.replace(table_map, file="")


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
transforms = st.one_of(
    st.builds(Transform, value_map=st.dictionaries(words, words)),
    st.builds(Transform, default=words, truncate=st.booleans()),
    st.builds(Transform, constant=words),
    st.builds(Transform, to_dataverse=st.none() | words, to_finops=words, default=st.none() | words),
)


@st.composite
def rows(draw: st.DrawFn) -> FieldMapping:
    transform = draw(st.just(Transform()) | transforms)
    arrow = draw(st.sampled_from([each for each in ARROWS if (len(each) == 2) != transform.is_plain]))
    ends = st.none() | st.sampled_from(["CUSTOMERGROUPID", "msdyn_paymenttermsid.msdyn_name", "a.b", "Gone"])
    return FieldMapping(finops=draw(ends), arrow=arrow, dataverse=draw(ends), transform=transform)


@given(
    st.builds(
        TableMap,
        name=st.just(GROUPS),
        entity=st.just("CustCustomerGroupEntity"),
        table=st.just("msdyn_customergroup"),
        integration_key=st.lists(words, max_size=3).map(tuple),
        rows=st.lists(rows(), max_size=6).map(
            lambda found: tuple(msgspec.structs.replace(row, row=number) for number, row in enumerate(found, 1))
        ),
        finops_filter=words,
        dataverse_filter=words,
        owning_team=words,
        publisher=words,
        examples=st.lists(st.builds(Example, finops=st.dictionaries(words, words | st.integers())), max_size=2).map(
            tuple
        ),
    )
)
def test_any_map_is_the_same_after_the_json_of_tools_and_of_files(table_map: TableMap) -> None:
    texts = mapping_json(table_map, CATALOG), properties_json(table_map)
    assert table_map_of_row(GROUPS, "1.0.0.0", *texts, CATALOG) == table_map
    assert table_map_of(msgspec.json.decode(msgspec.json.encode(document_of(table_map)))) == table_map


def test_json_of_others_is_read_without_our_properties_and_encoded_twice() -> None:
    table_map = CATALOG.table_maps[GROUPS]
    twice = msgspec.json.encode(mapping_json(table_map, CATALOG)).decode()
    back = table_map_of_row(GROUPS, "3.0.0.0", twice, None, CATALOG)
    assert (back.entity, back.table, back.rows) == (table_map.entity, table_map.table, table_map.rows)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"entityMappingTasks":[{"legs":[]}]}', "null"])
def test_unreadable_row_is_refused_by_name(text: str) -> None:
    with pytest.raises(Rejected, match=r"1\.0\.0\.9") as refused:
        table_map_of_row(GROUPS, "1.0.0.9", text, None, CATALOG)
    assert refused.value.code == "version_unreadable"


async def test_tools_read_every_shipped_map_over_the_web_api(environment: Environment) -> None:
    path = f"/api/data/v9.2/msdyn_dualwriteentitymaps({shipped_id(CATALOG.table_maps[ACCOUNTS])})"
    status, body = await call(environment.dataverse, "GET", path)
    assert (status, body["msdyn_name"], body["ismanaged"]) == (200, ACCOUNTS, True)
    leg = msgspec.json.decode(body["msdyn_mapping"])["entityMappingTasks"][0]["legs"][0]
    assert leg["sourceFilter"] == '((PartyType == "Organization"))'
    assert {"CUSTOMERACCOUNT", "accountnumber", 3} <= {
        value
        for row in leg["fieldMappings"]
        for value in (row["sourceField"], row["destinationField"], row["syncDirection"])
    }
    status, body = await call(environment.dataverse, "GET", "/api/data/v9.2/msdyn_dualwriteruntimeconfigs")
    assert (status, len(body["value"])) == (200, len(CATALOG.table_maps))
    pool = environment.dataverse_app.pool.origin
    names = {row["n"] for row in await pool.fetch("select msdyn_name as n from dataverse.msdyn_dualwriteentitymap")}
    assert set(CATALOG.table_maps) <= names
    assert len(CATALOG.earlier_table_maps) == 6


# Choosing ------------------------------------------------------------------------------------------------------------


async def test_chosen_version_is_what_live_sync_does(stopped: Environment) -> None:
    dual_write = stopped.dual_write
    version = await save(stopped, UPPER)
    assert (await dual_write.versions.chosen(GROUPS)) == version
    await dual_write.states.change([GROUPS], "running", by="test")
    assert await new_group(stopped, "wholesale") == "WHOLESALE!"
    await dual_write.states.change([GROUPS], "not_running", by="test")
    back = await dual_write.versions.roll_back(GROUPS, by="test")
    assert back.is_chosen
    shipped = await dual_write.versions.find(GROUPS, CATALOG.table_maps[GROUPS].version)
    await dual_write.versions.choose(GROUPS, shipped, by="test")
    await dual_write.states.change([GROUPS], "running", by="test")
    assert await new_group(stopped, "wholesale") == "wholesale"


async def test_faulty_choice_is_found_before_the_map_runs(stopped: Environment) -> None:
    """A version is valid when it is chosen; an upgrade may take from under it what it names."""
    dual_write = stopped.dual_write
    await save(stopped, UPPER)
    lost = without_column(CATALOG, "msdyn_customergroup", "msdyn_description")
    legs = msgspec.structs.replace(
        lost, table_maps={GROUPS: without_broken_rows(await dual_write.versions.current(GROUPS), lost)}
    )

    async def current() -> Legs:
        return Legs(legs)

    pools: dict[Half, Pool] = {"dataverse": stopped.dataverse_app.pool, "finops": stopped.finops_app.pool}
    operations = Operations(pools, current, dual_write.states, dual_write.requests)
    with pytest.raises(Rejected) as refused:
        await operations.run([GROUPS], RunParameters(skip_initial_sync=True), needed=False, by="test")
    assert refused.value.code == "table_map_invalid"
    assert "msdyn_description" in refused.value.message


async def test_value_that_an_expression_reads_from_another_field_follows_it(stopped: Environment) -> None:
    text = "DESCRIPTION || ' (' || text(ISSALESTAXINCLUDEDINPRICE) || ')'"
    await save(
        stopped, ChangeRow(row=DESCRIPTION, to=["DESCRIPTION", ">>", "msdyn_description", {"to_dataverse": text}])
    )
    await stopped.dual_write.states.change([GROUPS], "running", by="test")
    assert await new_group(stopped, "retail") == "retail (No)"
    group = f"G{next(numbers) - 1}"
    recid = await stopped.finops_app.pool.origin.fetchval(
        "select recid from finops.custcustomergroupentity where customergroupid = $1", group
    )
    await update(stopped.finops_app, "CustCustomerGroupEntity", {recid: {"issalestaxincludedinprice": 1}})
    found = await stopped.dataverse_app.pool.origin.fetchval(
        "select msdyn_description from dataverse.msdyn_customergroup where msdyn_groupid = $1", group
    )
    assert found == "retail (Yes)"


@pytest.mark.parametrize("earlier", CATALOG.earlier_table_maps, ids=lambda each: each.name)
async def test_earlier_version_is_there_to_be_chosen(environment: Environment, earlier: TableMap) -> None:
    dual_write, now = environment.dual_write, CATALOG.table_maps[earlier.name]
    assert differences(earlier, now)
    await dual_write.states.change([earlier.name], "not_running", by="test")
    assert (await dual_write.versions.roll_back(earlier.name, by="test")).id == shipped_id(earlier)
    current = await current_table_maps(environment.dataverse_app.pool, CATALOG)
    assert current[earlier.name] == msgspec.structs.replace(earlier, file="")
    with pytest.raises(NotFound):
        await dual_write.versions.roll_back(earlier.name, by="test")
    await dual_write.versions.choose(earlier.name, shipped_id(now), by="test")
    await dual_write.states.change([earlier.name], "running", by="test")


async def test_running_map_is_neither_edited_nor_given_another_version(environment: Environment) -> None:
    dual_write = environment.dual_write
    before = await dual_write.versions.history(GROUPS)
    with pytest.raises(Rejected) as refused:
        await save(environment, UPPER)
    assert refused.value.code == "table_map_not_stopped"
    assert await dual_write.versions.history(GROUPS) == before
    version = await save(environment, UPPER, choose=False)
    with pytest.raises(Rejected) as refused:
        await dual_write.versions.choose(GROUPS, version, by="test")
    assert refused.value.code == "table_map_not_stopped"
    assert (await dual_write.versions.chosen(GROUPS)) == shipped_id(CATALOG.table_maps[GROUPS])


async def test_expressions_for_both_ways_do_not_bounce(stopped: Environment) -> None:
    both = {"to_dataverse": "upper(DESCRIPTION)", "to_finops": "lower(msdyn_description)"}
    await save(stopped, ChangeRow(row=DESCRIPTION, to=["DESCRIPTION", "><", "msdyn_description", both]))
    await stopped.dual_write.states.change([GROUPS], "running", by="test")
    assert await new_group(stopped, "Mixed") == "MIXED"
    group = f"G{next(numbers) - 1}"
    ours = "select description from finops.custcustomergroupentity where customergroupid = $1"
    theirs = "select msdyn_description from dataverse.msdyn_customergroup where msdyn_groupid = $1"
    assert await stopped.finops_app.pool.origin.fetchval(ours, group) == "Mixed"
    row = await stopped.dataverse_app.pool.origin.fetchval(
        theirs.replace("msdyn_description", "msdyn_customergroupid", 1), group
    )
    await update(stopped.dataverse_app, "msdyn_customergroup", {row: {"msdyn_description": "Changed"}})
    assert await stopped.finops_app.pool.origin.fetchval(ours, group) == "changed"
    assert await stopped.dataverse_app.pool.origin.fetchval(theirs, group) == "Changed"


async def test_number_that_has_no_place_is_refused_in_its_own_words(environment: Environment) -> None:
    name, dual_write = "uoms - Units", environment.dual_write
    units = CATALOG.table_maps[name]
    row = next(each for each in units.rows if each.finops == "DECIMALPRECISION")
    large = ["DECIMALPRECISION", ">>", row.dataverse, {"to_dataverse": "DECIMALPRECISION * 1000000000"}]
    await dual_write.states.change([name], "not_running", by="test")
    await save(environment, ChangeRow(row=row.row, to=large), name=name)
    await dual_write.states.change([name], "running", by="test")
    with pytest.raises(Rejected, match="outside of what its destination holds") as refused:
        await create(environment.finops_app, "UnitOfMeasureEntity", {"unitsymbol": "ell", "decimalprecision": 5})
    assert refused.value.code == "expression_out_of_range"
    await create(environment.finops_app, "UnitOfMeasureEntity", {"unitsymbol": "ell", "decimalprecision": 2})


async def test_every_process_takes_up_a_new_choice(
    stopped: Environment, new_database: Callable[..., Awaitable[str]]
) -> None:
    dsns = {"dataverse": stopped.dataverse_app.pool.dsn, "finops": stopped.finops_app.pool.dsn}
    control = await new_database("template_control")
    link = stopped.dual_write.live_sync._link
    connection = await asyncpg.connect(control)
    await connection.execute("update isthmus.setting set value = $1 where name = 'link'", link)
    await connection.close()
    other = await Environment.open(
        Settings(pool_size=3, control_dsn=control, dataverse_dsn=dsns["dataverse"], finops_dsn=dsns["finops"])
    )
    try:
        await save(stopped, UPPER)
        await stopped.dual_write.states.change([GROUPS], "running", by="test")
        assert await new_group(other, "export") == "EXPORT!"
    finally:
        await other.close()


async def test_versions_are_listed_highest_first_and_kept_apart_by_publisher(environment: Environment) -> None:
    versions = environment.dual_write.versions
    first = await save(environment, UPPER, version="70.0.0.10", publisher="Fabrikam", choose=False)
    second = await save(environment, UPPER, version="70.0.0.9", publisher="Contoso", choose=False)
    third = await save(environment, UPPER, version="70.0.0.10", publisher="Contoso", choose=False)
    listed = await versions.history(GROUPS)
    assert {each.id for each in listed[:2]} == {first, third}
    assert listed[2].id == second
    assert (listed[0].saved_by, listed[-1].is_shipped) == ("Test user", True)
    assert await versions.find(GROUPS, "70.0.0.10", "Fabrikam") == first
    with pytest.raises(Rejected) as refused:
        await versions.find(GROUPS, "70.0.0.10")
    assert refused.value.code == "version_ambiguous"
    with pytest.raises(Conflict):
        await save(environment, UPPER, version="70.0.0.10", publisher="Contoso", choose=False)
    with pytest.raises(Rejected, match="four numbers"):
        await save(environment, UPPER, version="7.0", choose=False)
    with pytest.raises(NotFound):
        await versions.find(GROUPS, "9.9.9.9")


async def test_one_number_is_saved_once_however_many_try(environment: Environment) -> None:
    tries = [save(environment, UPPER, version="8.0.0.0", choose=False) for _ in range(4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Conflict", "Conflict", "UUID"]


async def test_saved_version_can_be_changed_or_lost_by_nobody_while_it_is_needed(stopped: Environment) -> None:
    app, versions = stopped.dataverse_app, stopped.dual_write.versions
    version = await save(stopped, UPPER)
    for column in ("msdyn_mapping", "msdyn_version", "msdyn_name"):
        with pytest.raises(Rejected) as refused:
            await update(app, TABLE, {version: {column: "x"}})
        assert refused.value.code == "version_is_fixed"
    await update(app, TABLE, {version: {"msdyn_displayname": "Groups, in capitals"}})
    for row in (version, shipped_id(CATALOG.table_maps[GROUPS])):
        with pytest.raises(Rejected) as refused:
            await delete(app, TABLE, row)
        assert refused.value.code == "version_in_use"
    await versions.choose(GROUPS, shipped_id(CATALOG.table_maps[GROUPS]), by="test")
    await delete(app, TABLE, version)
    with pytest.raises(NotFound):
        await versions.read(version)


# Editing -------------------------------------------------------------------------------------------------------------


def test_edits_count_rows_of_the_version_they_began_with() -> None:
    table_map = CATALOG.table_maps[GROUPS]
    changed = edited(
        table_map,
        [
            RemoveRow(row=1),
            AddRow(row=["", ">>", "statecode", {"constant": "0"}]),
            UPPER,
            SetProperty(finops_filter="(A == 1)"),
        ],
    )
    assert len(changed.rows) == len(table_map.rows)
    assert [row.row for row in changed.rows] == list(range(1, len(changed.rows) + 1))
    assert changed.rows[-1].transform.constant == "0"
    assert changed.finops_filter == "(A == 1)"
    assert next(row for row in changed.rows if row.finops == "DESCRIPTION").transform.to_dataverse is not None
    for wrong in (RemoveRow(row=99), ChangeRow(row=0, to=["A", "=", "b"])):
        with pytest.raises(Rejected) as refused:
            edited(table_map, [wrong])
        assert refused.value.code == "row_not_found"
    with pytest.raises(Rejected) as refused:
        edited(table_map, [AddRow(row=["A", "->", "b"])])
    assert refused.value.code == "definition_invalid"


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (AddRow(row=["NOSUCHFIELD", ">", "msdyn_description"]), "DIPV1022"),
        (AddRow(row=["DESCRIPTION", ">", "msdyn_description"]), "DIPV1026"),
        (RemoveRow(row=row_of(CATALOG.table_maps[GROUPS], "CUSTOMERGROUPID")), "DIPV1014"),
        (SetProperty(dataverse_filter="nosuchcolumn eq 1"), "DIPV1012"),
        (SetProperty(dataverse_filter="msdyn_description eq 1"), "type_mismatch"),
        (SetProperty(finops_filter="(("), "900"),
        (SetProperty(owning_team="11111111-1111-4111-8111-111111111111"), "owning_team_unclear"),
        (
            ChangeRow(row=DESCRIPTION, to=["DESCRIPTION", ">>", "msdyn_description", {"to_dataverse": "1"}]),
            "expression_type",
        ),
    ],
)
async def test_faulty_definition_is_not_saved(stopped: Environment, edit: Edit, code: str) -> None:
    before = await stopped.dual_write.versions.history(GROUPS)
    with pytest.raises(Rejected) as refused:
        await save(stopped, edit)
    assert refused.value.code == "table_map_invalid"
    assert code in {fault["code"] for fault in refused.value.details["faults"]}, refused.value.message
    assert await stopped.dual_write.versions.history(GROUPS) == before


async def test_new_table_map_runs_and_goes_again(environment: Environment) -> None:
    dual_write = environment.dual_write
    faulty = msgspec.structs.replace(own_map(), integration_key=("msdyn_nosuchcolumn",))
    with pytest.raises(Rejected) as refused:
        await dual_write.editing.create(faulty, CALLER)
    assert "DIPV1003" in {fault["code"] for fault in refused.value.details["faults"]}

    good = own_map()
    await dual_write.editing.create(good, CALLER)
    with pytest.raises(Conflict):
        await dual_write.editing.create(good, CALLER)
    assert (await dual_write.states.read([good.name]))[good.name].state == "not_running"
    await dual_write.states.change([good.name], "running", by="test")
    await create(environment.finops_app, "UnitOfMeasureEntity", {"unitsymbol": "furlong"})
    count = "select count(*) from dataverse.msdyn_productcolor where msdyn_productcolorname = 'furlong'"
    assert await environment.dataverse_app.pool.origin.fetchval(count) == 1
    with pytest.raises(Rejected) as refused:
        await dual_write.editing.delete(good.name, CALLER)
    assert refused.value.code == "table_map_not_stopped"
    await dual_write.states.change([good.name], "not_running", by="test")
    await dual_write.editing.delete(good.name, CALLER)
    with pytest.raises(NotFound):
        await dual_write.versions.history(good.name)
    assert good.name not in await current_table_maps(environment.dataverse_app.pool, CATALOG)
    with pytest.raises(Rejected) as refused:
        await dual_write.editing.delete(GROUPS, CALLER)
    assert refused.value.code == "table_map_shipped"


def own_map() -> TableMap:
    """Symbols of units as colours: a table map that nobody ships."""
    return table_map_of(
        {
            "name": "msdyn_productcolors - Units",
            "entity": "UnitOfMeasureEntity",
            "table": "msdyn_productcolor",
            "integration_key": ["msdyn_productcolorname"],
            "rows": [["UNITSYMBOL", ">", "msdyn_productcolorname"]],
        }
    )


async def test_integration_key_belongs_to_the_table(environment: Environment) -> None:
    dual_write = environment.dual_write
    contacts = [name for name, each in CATALOG.table_maps.items() if each.table == "contact"]
    assert len(contacts) > 1
    current = await dual_write.versions.current(contacts[0])
    other = msgspec.structs.replace(current, integration_key=current.integration_key[:1])
    found = await dual_write.editing.validate(other)
    assert "integration_key_of_table" in {fault.code for fault in found.faults}
    with pytest.raises(Rejected) as refused:
        await dual_write.editing.set_integration_key("contact", current.integration_key, CALLER)
    assert refused.value.code == "table_map_not_stopped"
    await dual_write.states.change(contacts, "not_running", by="test")
    with pytest.raises(Rejected) as refused:
        await dual_write.editing.set_integration_key("contact", ["firstname"], CALLER)
    assert "DIPV1003" in refused.value.message
    reversed_key = tuple(reversed(current.integration_key))
    chosen = await dual_write.editing.set_integration_key("contact", reversed_key, CALLER)
    assert set(chosen) == set(contacts)
    for name in contacts:
        assert (await dual_write.versions.current(name)).integration_key == reversed_key
        await dual_write.versions.choose(name, shipped_id(CATALOG.table_maps[name]), by="test")
    await dual_write.states.change(contacts, "running", by="test")


async def test_rows_of_a_global_table_belong_to_the_owning_team(environment: Environment) -> None:
    name = "msdyn_productcolors - Colors"
    dual_write = environment.dual_write
    units = "select businessunitid from dataverse.businessunit where parentbusinessunitid is null"
    unit = await environment.dataverse_app.pool.origin.fetchval(units)
    (team,) = await create(
        environment.dataverse_app, "team", {"name": "Colourists", "teamtype": 0, "businessunitid": unit}
    )
    await dual_write.states.change([name], "not_running", by="test")
    await save(environment, SetProperty(owning_team=str(team)), name=name)
    await dual_write.states.change([name], "running", by="test")
    await create(environment.finops_app, "EcoResProductColorEntity", {color_key(): "mauve"})
    owner = "select ownerid from dataverse.msdyn_productcolor where msdyn_productcolorname = 'mauve'"
    assert await environment.dataverse_app.pool.origin.fetchval(owner) == team


def color_key() -> str:
    row = CATALOG.table_maps["msdyn_productcolors - Colors"].rows[0]
    return (row.finops or "").lower()


# Comparing -----------------------------------------------------------------------------------------------------------


def test_difference_names_each_field_that_changed() -> None:
    before = CATALOG.table_maps[GROUPS]
    after = edited(
        before,
        [
            UPPER,
            RemoveRow(row=row_of(before, "PAYMENTTERMID")),
            AddRow(row=["", ">>", "statecode", {"constant": "0"}]),
            SetProperty(dataverse_filter="statecode eq 0"),
        ],
    )
    found = {(each.kind, each.name): each for each in differences(before, after)}
    assert [kind for kind, _ in sorted(found)] == ["added", "changed", "changed", "removed"]
    assert found["changed", "dataverse_filter"].after == "statecode eq 0"
    assert found["changed", "DESCRIPTION = msdyn_description"].after == UPPER.to
    assert differences(before, before) == []
    back = {(each.kind, each.name) for each in differences(after, before)}
    assert len(back) == 4


# Schema drift --------------------------------------------------------------------------------------------------------


def without_column(catalog: Catalog, table_name: str, column: str, **changes: Any) -> Catalog:
    table = catalog.tables[table_name]
    columns = tuple(
        msgspec.structs.replace(each, **changes) if each.name == column else each
        for each in table.columns
        if each.name != column or changes
    )
    tables = {**catalog.tables, table_name: msgspec.structs.replace(table, columns=columns)}
    return msgspec.structs.replace(catalog, tables=tables)


def test_fitting_map_has_no_drift() -> None:
    for table_map in CATALOG.table_maps.values():
        assert drift_of(table_map, CATALOG) == []
        assert without_broken_rows(table_map, CATALOG) is table_map


def test_lost_column_is_named_with_what_to_do() -> None:
    table_map = CATALOG.table_maps[GROUPS]
    catalog = without_column(CATALOG, "msdyn_customergroup", "msdyn_description")
    (drift,) = drift_of(table_map, catalog)
    assert (drift.kind, drift.row, drift.field) == ("gone", DESCRIPTION, "msdyn_description")
    assert "Remove row" in drift.advice
    sound = without_broken_rows(table_map, catalog)
    assert sound is not None
    assert len(sound.rows) == len(table_map.rows) - 1
    assert validate(sound, catalog).faults == ()


def test_renamed_column_is_guessed() -> None:
    catalog = without_column(CATALOG, "msdyn_customergroup", "msdyn_description", name="msdyn_descriptions")
    (drift,) = drift_of(CATALOG.table_maps[GROUPS], catalog)
    assert "msdyn_descriptions" in drift.advice


def test_changed_type_is_drift() -> None:
    catalog = without_column(CATALOG, "msdyn_customergroup", "msdyn_description", type=ColumnType.BOOLEAN)
    (drift,) = drift_of(CATALOG.table_maps[GROUPS], catalog)
    assert (drift.kind, drift.code) == ("changed", "DIPV1030")


def test_map_whose_key_or_table_is_gone_can_not_run_at_all() -> None:
    table_map = CATALOG.table_maps[GROUPS]
    assert without_broken_rows(table_map, without_column(CATALOG, "msdyn_customergroup", "msdyn_groupid")) is None
    tables = {name: table for name, table in CATALOG.tables.items() if name != "msdyn_customergroup"}
    catalog = msgspec.structs.replace(CATALOG, tables=tables)
    assert [drift.code for drift in drift_of(table_map, catalog)] == ["DIPV1020"]
    assert without_broken_rows(table_map, catalog) is None


def test_filter_over_a_lost_or_changed_column_can_not_run_at_all() -> None:
    table_map = edited(CATALOG.table_maps[GROUPS], [SetProperty(dataverse_filter="msdyn_description eq 'a'")])
    lost = without_column(CATALOG, "msdyn_customergroup", "msdyn_description")
    assert ("gone", "DIPV1012") in {(drift.kind, drift.code) for drift in drift_of(table_map, lost)}
    assert without_broken_rows(table_map, lost) is None
    number = without_column(CATALOG, "msdyn_customergroup", "msdyn_description", type=ColumnType.INTEGER)
    assert without_broken_rows(table_map, number) is None


def test_new_mandatory_field_is_drift() -> None:
    entity = CATALOG.entities["CustCustomerGroupEntity"]
    field = msgspec.structs.replace(entity.field["writeoffreason"], name="Reason", mandatory=True)
    changed = msgspec.structs.replace(entity, fields=(*entity.fields, field))
    catalog = msgspec.structs.replace(CATALOG, entities={**CATALOG.entities, entity.aot_name: changed})
    (drift,) = drift_of(CATALOG.table_maps[GROUPS], catalog)
    assert (drift.kind, drift.field, drift.code) == ("added", "Reason", "DIPV1031")


async def test_map_that_no_longer_fits_is_paused_with_what_changed(stopped: Environment) -> None:
    dual_write = stopped.dual_write
    group = {"dataareaid": "usmf", "customergroupid": "LOOKED", "description": "Looked into"}
    await create(stopped.finops_app, "CustCustomerGroupEntity", group)
    await save(stopped, UPPER)
    await dual_write.states.change([GROUPS], "running", by="test")
    pool, states, activity = stopped.dataverse_app.pool, dual_write.states, dual_write.activity
    assert await hold_what_does_not_fit(pool, CATALOG, states, activity) == []
    lost = without_column(CATALOG, "msdyn_customergroup", "msdyn_description")
    assert await hold_what_does_not_fit(pool, lost, states, activity) == [GROUPS]
    found = (await states.read([GROUPS]))[GROUPS]
    assert (found.state, found.reason) == ("paused", "schema")
    entries = await activity.pool.fetch("select * from isthmus.activity where kind = 'schema_changed'")
    assert [entry["table_map"] for entry in entries] == [GROUPS]
    assert "msdyn_description" in entries[0]["message"]
    assert (await current_table_maps(pool, lost))[GROUPS].rows != (await dual_write.versions.current(GROUPS)).rows
    findings, explanation = await _looked_into(stopped, lost)
    for found_code, level in (("DIPV1025", "error"), ("table_map_paused", "warning")):
        assert [finding.level for finding in findings if finding.code == found_code] == [level]
    (drift,) = [finding for finding in findings if finding.level == "error"]
    assert "msdyn_description" in drift.message and "Remove row" in drift.advice
    assert not [finding for finding in findings if "Resume" in finding.advice]
    assert "msdyn_description" in explanation.summary
    assert [condition.name for condition in explanation.conditions if condition.outcome == "stops"] == [
        "schema",
        "state",
    ]
    await states.change([GROUPS], "running", by="test")
    no_key = without_column(CATALOG, "msdyn_customergroup", "msdyn_groupid")
    assert await hold_what_does_not_fit(pool, no_key, states, activity) == [GROUPS]
    assert (await states.read([GROUPS]))[GROUPS].state == "not_running"
    assert GROUPS not in await current_table_maps(pool, no_key)
    findings, explanation = await _looked_into(stopped, no_key)
    assert "msdyn_groupid" in findings[0].message and findings[0].level == "error"
    assert not explanation.flows and "msdyn_groupid" in explanation.summary


async def _looked_into(environment: Environment, catalog: Catalog) -> tuple[list[Finding], Explanation]:
    """What doctor says of the table map and of a record, in a process that was started with this catalog and ships no
    table maps, which would have to fit."""
    catalog = msgspec.structs.replace(catalog, table_maps={})
    dual_write, pool = environment.dual_write, environment.dataverse_app.pool
    legs = await CurrentLegs.open(catalog, partial(current_table_maps, pool, catalog), partial(read_generation, pool))
    apps: dict[Half, Any] = {"dataverse": environment.dataverse_app, "finops": environment.finops_app}
    pools = {half: app.pool.origin for half, app in apps.items()}
    health = HealthCheck(apps, pools, dual_write.link, legs, dual_write.states, dual_write.activity)
    why = Why(apps, pools, legs, dual_write.states, dual_write.activity)
    return await health.table_maps([GROUPS]), await why.explain(GROUPS, "finops", "looked, usmf")


def test_toml_of_every_map_is_the_same_after_writing() -> None:
    for table_map in CATALOG.table_maps.values():
        document = tomllib.loads(write_table_map(table_map))
        assert table_map_of(document) == msgspec.structs.replace(table_map, file="", solution="")
