"""The health check: it finds nothing where nothing is wrong, and each thing that is, by its code."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from tests.support.writing import create, update

from isthmus import solutions
from isthmus.apps.context import Context
from isthmus.apps.message import Message
from isthmus.apps.pipeline import Pipeline, Stage, Step
from isthmus.config import Settings
from isthmus.dual_write.activity import ActivityFilter, Entry
from isthmus.dual_write.findings import Finding
from isthmus.dual_write.legs import Legs
from isthmus.dual_write.table_map_health import Built, check_built
from isthmus.dual_write.why import Explanation
from isthmus.environments.environment import Environment
from isthmus.errors import Conflict, NotFound
from isthmus.finops.data_sources import Compiled
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.entity import EntityField
from isthmus.metadata.table_map import FieldMapping
from isthmus.metadata.types import FieldType

ROOT = Path(__file__).parents[2]
CUSTOMERS, GROUPS = "accounts - Customers V3", "msdyn_customergroups - Customer groups"
COMPANIES = "cdm_companies - Legal entities"
PROSPECTS = "leads - Prospects"
ATTACHMENTS = "annotations - Customer Attachments"


# Table maps as they are built -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return solutions.catalog()


@pytest.fixture(scope="module")
def legs(catalog: Catalog) -> Legs:
    return Legs(catalog)


def findings(legs: Legs, name: str, pipeline: Pipeline | None = None, **changes: Any) -> list[Finding]:
    """What is found about a table map, after these changes to its definition."""
    table_map = msgspec.structs.replace(legs.catalog.table_maps[name], **changes)
    sources = Compiled(legs.catalog)[table_map.entity]
    return list(check_built(Built(table_map=table_map, sources=sources, legs=legs, pipeline=pipeline or Pipeline())))


def codes(found: list[Finding]) -> set[str]:
    return {finding.code for finding in found}


def test_no_shipped_table_map_has_more_than_something_to_know(legs: Legs) -> None:
    found = [finding for name in legs.catalog.table_maps for finding in findings(legs, name)]
    assert {finding.level for finding in found} == {"info"}
    assert codes(found) == {"400", "1000", "1500", "1600", "1700", "1800", "1900"}
    assert {f.table_map for f in found if f.code == "1000"} == {
        name for name, half in legs.by_map if half == "finops"
    }  # fmt: skip


def test_a_one_way_map_says_which_way_nothing_goes(legs: Legs) -> None:
    (found,) = [finding for finding in findings(legs, COMPANIES) if finding.code == "400"]
    assert "from dataverse to finops" in found.message
    assert "400" not in codes(findings(legs, CUSTOMERS))


def test_a_filter_that_cannot_be_read_is_found(legs: Legs) -> None:
    found = findings(legs, CUSTOMERS, finops_filter="((PartyType === )")
    assert [finding.level for finding in found if finding.code == "900"] == ["error"]
    assert "DIPV1012" in codes(findings(legs, CUSTOMERS, dataverse_filter="customertypecode eq"))


def test_a_field_mapping_that_leads_nowhere_is_found(legs: Legs) -> None:
    row = FieldMapping(finops="ADDRESSCITY", arrow="=", dataverse="nosuchcolumn", row=99)
    table_map = legs.catalog.table_maps[CUSTOMERS]
    found = findings(legs, CUSTOMERS, rows=(*table_map.rows, row))
    assert [finding.details["row"] for finding in found if finding.code == "DIPV1025"] == [99]


def test_the_statement_that_shows_records_and_what_they_need_is_given(legs: Legs) -> None:
    (found,) = [finding for finding in findings(legs, CUSTOMERS) if finding.code == "1000"]
    assert "CustTable" in found.message and "Party" in found.message
    assert found.details["sql"].startswith("select ") and "custtable" in found.details["sql"]


def test_data_sources_without_a_mapped_field_are_named(legs: Legs) -> None:
    (found,) = [finding for finding in findings(legs, COMPANIES) if finding.code == "1500"]
    assert "PrimaryAddress" in found.details["data_sources"]
    table_map = legs.catalog.table_maps[CUSTOMERS]
    only_key = tuple(row for row in table_map.rows if (row.finops or "").upper() == "CUSTOMERACCOUNT")
    (found,) = [finding for finding in findings(legs, CUSTOMERS, rows=only_key) if finding.code == "1500"]
    assert "Party" in found.details["data_sources"]


def test_ranges_and_what_they_hide_are_named(legs: Legs) -> None:
    found = findings(legs, ATTACHMENTS)
    assert [f.details["range"] for f in found if f.code == "1600"] == [{"reftable": "CustTable"}]
    assert "1800" in codes(found)
    assert "1800" not in codes(findings(legs, CUSTOMERS))


def test_tables_of_several_entities_are_named(legs: Legs) -> None:
    shared = {finding.details["table"]: finding.details["entities"] for finding in findings(legs, CUSTOMERS)
              if finding.code == "1700"}  # fmt: skip
    assert "VendVendorV2Entity" in shared["DirPartyTable"]
    assert "CustCustomerV3Entity" not in shared["DirPartyTable"]


def test_what_time_changes_is_named(legs: Legs) -> None:
    assert [f.details["data_source"] for f in findings(legs, PROSPECTS) if f.code == "1900"] == ["PrimaryAddress"]


def test_a_join_without_an_index_is_named(catalog: Catalog) -> None:
    """Without the index on its party, a change of a party reads all customers."""
    table = catalog.finops_tables["CustTable"]
    bare = msgspec.structs.replace(table, indexes=(), unique_indexes=(("AccountNum",),))
    without = msgspec.structs.replace(catalog, finops_tables={**catalog.finops_tables, "CustTable": bare})
    assert "1900" not in codes(findings(Legs(catalog), CUSTOMERS))
    (found,) = [finding for finding in findings(Legs(without), CUSTOMERS) if finding.code == "1900"]
    assert (found.level, found.details["data_source"]) == ("warning", "Party")


def test_a_field_that_the_system_fills_is_named(catalog: Catalog) -> None:
    entity = catalog.entities["CustCustomerGroupEntity"]
    stamp = EntityField(
        name="ChangedAt", type=FieldType.DATE_TIME, source=entity.root.name, field="ModifiedDateTime", read_only=True
    )
    wider = msgspec.structs.replace(entity, fields=(*entity.fields, stamp))
    table_map = catalog.table_maps[GROUPS]
    row = FieldMapping(finops="CHANGEDAT", arrow=">", dataverse="overriddencreatedon", row=99)
    changed = msgspec.structs.replace(
        catalog,
        entities={**catalog.entities, entity.aot_name: wider},
        table_maps={**catalog.table_maps, GROUPS: msgspec.structs.replace(table_map, rows=(*table_map.rows, row))},
    )
    found = [finding for finding in findings(Legs(changed), GROUPS) if finding.code == "1300"]
    assert [(finding.level, finding.details["field"]) for finding in found] == [("warning", "ChangedAt")]


def test_steps_on_the_table_are_named_but_not_those_on_every_table(legs: Legs) -> None:
    async def price(context: Context, message: Message) -> None:
        """A step of somebody's."""

    async def other(context: Context, message: Message) -> None:
        """Another one."""

    pipeline = Pipeline()
    assert "5000" not in codes(findings(legs, CUSTOMERS, pipeline))
    pipeline.register(Step(stage=Stage.POST_OPERATION, handler=price, table="account"))
    pipeline.register(Step(stage=Stage.PRE_OPERATION, handler=other, table="contact"))
    pipeline.register(Step(stage=Stage.PRE_OPERATION, handler=other))
    (found,) = [finding for finding in findings(legs, CUSTOMERS, pipeline) if finding.code == "5000"]
    assert [step.rpartition(".")[2] for step in found.details["steps"]] == ["price"]


# The configuration, and table maps as they stand ----------------------------------------------------------------------


@pytest.fixture(scope="module")
async def environment(
    templates: dict[str, str], new_database: Callable[..., Awaitable[str]]
) -> AsyncIterator[Environment]:
    """An environment of its own, with a company of each half's making, for tests that break things."""
    addresses = {f"{kind}_dsn": await new_database(template) for kind, template in templates.items()}
    environment = await Environment.open(Settings(pool_size=3, **addresses))
    try:
        finops = environment.finops_app
        await create(finops, "CurrencyEntity", {"currencycode": "USD", "name": "US dollar", "symbol": "$"})
        await create(finops, "OMLegalEntity", {"legalentityid": "USMF", "name": "Contoso"})
        group = {"dataareaid": "usmf", "customergroupid": "10", "description": "Wholesale"}
        await create(finops, "CustCustomerGroupEntity", group)
        yield environment
    finally:
        await environment.close()


async def configuration(environment: Environment) -> dict[str, Finding]:
    return {finding.code: finding for finding in await environment.dual_write.health.configuration()}


async def of_map(environment: Environment, name: str) -> dict[str, Finding]:
    return {finding.code: finding for finding in await environment.dual_write.health.table_maps([name])}


def half(environment: Environment, name: str) -> Any:
    app = environment.finops_app if name == "finops" else environment.dataverse_app
    return app.pool.origin


@asynccontextmanager
async def broken(pool: Any, breaking: str, mending: str) -> AsyncIterator[None]:
    await pool.execute(breaking)
    try:
        yield
    finally:
        await pool.execute(mending)


async def test_a_sound_environment_gives_no_cause_for_complaint(environment: Environment) -> None:
    assert await configuration(environment) == {}
    found = await environment.dual_write.health.table_maps()
    assert [finding for finding in found if finding.level != "info"] == []
    assert {finding.table_map for finding in found} == set(solutions.catalog().table_maps)


@pytest.mark.parametrize(
    ("where", "breaking", "mending", "code", "level"),
    [
        (
            "dataverse",
            "update isthmus.link set id = 'x' || id",
            "update isthmus.link set id = substr(id, 2)",
            "DWDVEV1001",
            "error",
        ),
        (
            "finops",
            "create table isthmus.kept as select * from isthmus.link; delete from isthmus.link",
            "insert into isthmus.link select * from isthmus.kept; drop table isthmus.kept",
            "DWFOEV1001",
            "error",
        ),
        (
            "finops",
            "insert into finops.companyinfo (recid, dataarea) values (99, 'LONE')",
            "delete from finops.companyinfo where recid = 99",
            "DWDVEV1003",
            "error",
        ),
        (
            "dataverse",
            "update dataverse.cdm_company set cdm_companycode = 'ELSE' where lower(cdm_companycode) = 'usmf'",
            "update dataverse.cdm_company set cdm_companycode = 'USMF' where cdm_companycode = 'ELSE'",
            "DWFOEV1003",
            "error",
        ),
        (
            "dataverse",
            "insert into isthmus.table_map_state (table_map, state) values ('gone - Gone', 'not_running')",
            "delete from isthmus.table_map_state where table_map = 'gone - Gone'",
            "DWDVEV1004",
            "warning",
        ),
        (
            "finops",
            "insert into isthmus.table_map_state (table_map, state) values ('gone - Gone', 'not_running')",
            "delete from isthmus.table_map_state where table_map = 'gone - Gone'",
            "DWFOEV1004",
            "warning",
        ),
        (
            "dataverse",
            "update dataverse.team set name = 'Others' where isdefault and name = 'isthmus'",
            "update dataverse.team set name = 'isthmus' where name = 'Others'",
            "DWFOEV1006",
            "warning",
        ),
        (
            "dataverse",
            "create table isthmus.kept as select cdm_companyid, cdm_defaultowningteam from dataverse.cdm_company; "
            "update dataverse.cdm_company set cdm_defaultowningteam = null",
            "update dataverse.cdm_company c set cdm_defaultowningteam = k.cdm_defaultowningteam from isthmus.kept k "
            "where k.cdm_companyid = c.cdm_companyid; drop table isthmus.kept",
            "DWDVEV1007",
            "error",
        ),
        (
            "dataverse",
            "update isthmus.migration set name = 'x' || name where name like 'half_002%'",
            "update isthmus.migration set name = substr(name, 2) where name like 'xhalf_002%'",
            "100",
            "error",
        ),
    ],
)
async def test_what_is_wrong_with_the_configuration_is_found(
    environment: Environment, where: str, breaking: str, mending: str, code: str, level: str
) -> None:
    async with broken(half(environment, where), breaking, mending):
        found = await configuration(environment)
        assert found[code].level == level and found[code].advice
    assert await configuration(environment) == {}


async def test_a_half_that_is_away_is_told_and_what_the_other_one_knows(environment: Environment) -> None:
    name = await half(environment, "dataverse").fetchval("select current_database()")
    database = environment.control
    async with broken(
        database,
        f'alter database "{name}" allow_connections false',
        f'alter database "{name}" allow_connections true',
    ):
        await database.fetch("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        (found,) = await environment.dual_write.health.configuration()
        assert (found.code, found.half, found.level) == ("half_away", "dataverse", "error")
        assert "1000" in {finding.code for finding in await environment.dual_write.health.table_maps([GROUPS])}
        async with broken(
            half(environment, "finops"),
            "update isthmus.link set half = 'dataverse'",
            "update isthmus.link set half = 'finops'",
        ):
            codes = [finding.code for finding in await environment.dual_write.health.configuration()]
            assert codes == ["half_away", "DWFOEV1001"]
    assert await configuration(environment) == {}


async def test_a_stopped_and_a_paused_map_are_told_apart(environment: Environment) -> None:
    states = environment.dual_write.states
    await states.change([GROUPS], "paused", by="test", reason="manual")
    assert (await of_map(environment, GROUPS))["table_map_paused"].level == "warning"
    await states.change([GROUPS], "not_running", by="test")
    assert (await of_map(environment, GROUPS))["400"].level == "warning"
    await states.change([GROUPS], "running", by="test")
    assert not {"400", "table_map_paused"} & (await of_map(environment, GROUPS)).keys()


async def test_a_map_that_one_half_does_not_know_is_found(environment: Environment) -> None:
    async with broken(
        half(environment, "finops"),
        f"update isthmus.table_map_state set table_map = 'x' where table_map = '{PROSPECTS}'",
        f"update isthmus.table_map_state set table_map = '{PROSPECTS}' where table_map = 'x'",
    ):
        found = (await of_map(environment, PROSPECTS))["500"]
        assert (found.half, found.level) == ("finops", "error")
    with pytest.raises(NotFound):
        await environment.dual_write.health.table_maps(["nosuch - Map"])


async def test_what_waits_for_somebody_is_counted(environment: Environment) -> None:
    async with broken(
        half(environment, "dataverse"),
        "insert into isthmus.queued_change "
        "(table_map, operation, record_id, record, principal, correlation_id, status) "
        f"select '{PROSPECTS}', 'upsert', n::text, '{{}}', '', '', (array['waiting', 'failed', 'dismissed'])[n] "
        "from generate_series(1, 3) n",
        "delete from isthmus.queued_change",
    ):
        found = await of_map(environment, PROSPECTS)
        assert found["queued_changes_refused"].details == {"failed": 1, "waiting": 1}


async def test_refused_saves_of_the_last_day_are_counted_until_somebody_settles_them(environment: Environment) -> None:
    await new_group(environment, "TWICE")
    with pytest.raises(Conflict):
        await new_group(environment, "TWICE")
    assert "live_saves_refused" not in await of_map(environment, GROUPS), "F&O itself refused that one"
    await half(environment, "dataverse").execute(
        "alter table dataverse.msdyn_customergroup add constraint no_ghosts check (msdyn_groupid <> 'GHOST')"
    )
    with pytest.raises(Exception, match="no_ghosts"):
        await new_group(environment, "GHOST")
    await half(environment, "dataverse").execute("alter table dataverse.msdyn_customergroup drop constraint no_ghosts")
    counted = (await of_map(environment, GROUPS)).get("live_saves_refused")
    assert counted is not None and counted.details == {"saves": 1}
    activity = environment.activity
    (refused,) = await activity.entries(ActivityFilter(table_map=GROUPS, kinds=("live_sync_error",)))
    await activity.record(Entry(kind="retried", message="Sent again.", table_map=GROUPS, about=refused.id))
    assert "live_saves_refused" not in await of_map(environment, GROUPS)


# A single record ------------------------------------------------------------------------------------------------------


async def new_group(environment: Environment, number: str, **values: Any) -> int:
    (recid,) = await create(
        environment.finops_app,
        "CustCustomerGroupEntity",
        {"dataareaid": "usmf", "customergroupid": number, "description": "Retail", **values},
    )
    return int(recid)


async def new_customer(environment: Environment, number: str, **values: Any) -> int:
    (recid,) = await create(
        environment.finops_app,
        "CustCustomerV3Entity",
        {
            "dataareaid": "usmf",
            "customeraccount": number,
            "organizationname": "Adventure Works",
            "partytype": "Organization",
            "customergroupid": "10",
            "salescurrencycode": "USD",
            **values,
        },
    )
    return int(recid)


def stopped_by(explanation: Explanation) -> list[str]:
    assert explanation.flows == (not any(c.outcome == "stops" for c in explanation.conditions))
    return [condition.name for condition in explanation.conditions if condition.outcome == "stops"]


async def test_a_record_that_flows_is_found_by_id_and_by_key_from_both_halves(environment: Environment) -> None:
    recid = await new_customer(environment, "W1")
    account = await half(environment, "dataverse").fetchval(
        "select accountid from dataverse.account where accountnumber = 'W1'"
    )
    why = environment.dual_write.why
    explained = [
        await why.explain(CUSTOMERS, "finops", str(recid)),
        await why.explain(CUSTOMERS, "finops", "W1, USMF"),
        await why.explain(CUSTOMERS, "dataverse", str(account)),
        await why.explain(CUSTOMERS, "dataverse", "w1, usmf"),
    ]
    for explanation in explained:
        assert stopped_by(explanation) == []
        assert explanation.record_key == "w1, usmf"
        (counterpart,) = [c for c in explanation.conditions if c.name == "counterpart"]
        assert counterpart.outcome == "ok", counterpart.message
    assert [explanation.record_id for explanation in explained] == [str(recid)] * 2 + [str(account)] * 2
    for nothing in ("99", "W9, usmf", str(uuid4())):
        with pytest.raises(NotFound):
            await why.explain(CUSTOMERS, "finops", nothing)


async def test_a_record_that_the_filter_leaves_out(environment: Environment) -> None:
    recid = await new_customer(environment, "W2", partytype="Person", personfirstname="Ann", personlastname="Lee")
    explanation = await environment.dual_write.why.explain(CUSTOMERS, "finops", str(recid))
    assert stopped_by(explanation) == ["filter"]
    assert 'PartyType == "Organization"' in explanation.summary
    assert re.search(r"but \w*PartyType is '\w*Person\w*'", explanation.summary, re.IGNORECASE), explanation.summary


async def test_a_record_whose_lookup_finds_nothing(environment: Environment) -> None:
    finops = half(environment, "finops")
    await finops.execute("insert into finops.paymterm (recid, dataareaid, name) values (99, 'usmf', 'Lonely')")
    recid = await new_customer(environment, "W3")
    await finops.execute("update finops.custtable set paymtermid = 'Lonely' where accountnum = 'W3'")
    explanation = await environment.dual_write.why.explain(CUSTOMERS, "finops", str(recid))
    assert stopped_by(explanation) == ["lookup"]
    assert "msdyn_paymentterm" in explanation.summary and "Lonely" in explanation.summary


async def test_a_record_that_differs_says_in_what(environment: Environment) -> None:
    recid = await new_customer(environment, "W4", creditlimit=5)
    await half(environment, "dataverse").execute(
        "update dataverse.account set creditlimit = 7 where accountnumber = 'W4'"
    )
    explanation = await environment.dual_write.why.explain(CUSTOMERS, "finops", str(recid))
    assert stopped_by(explanation) == []
    (counterpart,) = [c for c in explanation.conditions if c.name == "counterpart"]
    assert counterpart.outcome == "note"
    assert re.search(r"CreditLimit '5\S*' in F&O, '7\S*' in Dataverse", counterpart.message)


async def test_a_row_without_a_company_and_one_in_a_company_that_is_elsewhere(environment: Environment) -> None:
    (lonely,) = await create(
        environment.dataverse_app, "msdyn_customergroup", {"msdyn_groupid": "W5", "msdyn_description": "Nowhere"}
    )
    explanation = await environment.dual_write.why.explain(GROUPS, "dataverse", str(lonely))
    assert stopped_by(explanation)[0] == "company"
    recid = await new_group(environment, "W6")
    async with broken(
        half(environment, "dataverse"),
        "update dataverse.cdm_company set cdm_companycode = 'ELSE' where lower(cdm_companycode) = 'usmf'",
        "update dataverse.cdm_company set cdm_companycode = 'USMF' where cdm_companycode = 'ELSE'",
    ):
        explanation = await environment.dual_write.why.explain(GROUPS, "finops", str(recid))
        assert "company" in stopped_by(explanation)


async def test_a_row_that_is_no_record_of_the_entity(environment: Environment) -> None:
    recid = await new_customer(environment, "W7")
    async with broken(
        half(environment, "finops"),
        "update finops.custtable set party = -party where accountnum = 'W7'",
        "update finops.custtable set party = -party where accountnum = 'W7'",
    ):
        explanation = await environment.dual_write.why.explain(CUSTOMERS, "finops", str(recid))
        assert stopped_by(explanation) == ["record"]
        assert "data source Party" in explanation.summary


async def test_a_paused_map_and_what_waits_of_the_record(environment: Environment) -> None:
    recid = await new_group(environment, "W8")
    states = environment.dual_write.states
    await states.change([GROUPS], "paused", by="test", reason="manual")
    try:
        await update(environment.finops_app, "CustCustomerGroupEntity", {recid: {"description": "Other"}})
        explanation = await environment.dual_write.why.explain(GROUPS, "finops", "w8, usmf")
        assert stopped_by(explanation) == ["state"]
        assert next(c.message for c in explanation.conditions if c.name == "queue").startswith("1 change(s)")
        await half(environment, "finops").execute(
            "update isthmus.queued_change set status = 'failed', message = 'No.' where record_key like 'w8%'"
        )
        explanation = await environment.dual_write.why.explain(GROUPS, "finops", "w8, usmf")
        assert stopped_by(explanation) == ["state", "queue"]
    finally:
        await states.change([GROUPS], "not_running", by="test", queued="discard")
        await states.change([GROUPS], "running", by="test")


async def test_the_way_that_nothing_goes(environment: Environment) -> None:
    explanation = await environment.dual_write.why.explain(COMPANIES, "dataverse", "usmf")
    assert stopped_by(explanation) == ["direction"]


def test_every_code_is_documented_and_every_documented_code_is_given() -> None:
    sources = [ROOT / "src/isthmus/dual_write" / f"{name}.py" for name in
               ("health_check", "table_map_health", "configuration_health")]  # fmt: skip
    text = "\n".join(source.read_text("utf-8") for source in sources)
    given = set(re.findall(r'code="(\w+)"', text))
    given |= {f"{prefix}{number}" for prefix in ("DWDVEV", "DWFOEV") for number in re.findall(r'half\]\}(\d+)"', text)}
    page = (ROOT / "docs/reference/health_checks.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert documented - {"900", "DIPV"} == given
