"""Whatever text is put wherever a query takes text: it is compared as text, or refused, and changes nothing."""

from __future__ import annotations

import json
from urllib.parse import quote

import asyncpg
import pytest
from tests.query.sample_relations import ACCOUNT, CUSTOMER, ENTITIES, TABLES, account_id, column, relation

from isthmus.errors import IsthmusError, Rejected
from isthmus.query.literals import Literal
from isthmus.query.model import Kind
from isthmus.query.odata import parse_filter
from isthmus.query.odata_path import parse_path
from isthmus.query.planner import Planner, write_token
from isthmus.query.quoting import quote_identifier, quote_literal
from isthmus.query.ranges import parse_range
from isthmus.query.record_json import WireOptions
from isthmus.query.sql import compile_condition

CORPUS = [
    "'; drop table sample.account; --",
    "' or '1'='1",
    "'' or 1=1 --",
    "\\'; select pg_sleep(9); --",
    "\\",
    "\\\\' or true --",
    "$1",
    "$$; drop schema sample cascade; $$",
    "%",
    "_",
    "%' or name like '%",
    '"; drop table sample.account; --',
    "{alias}",
    "{0}",
    "{}",
    "%s",
    "%(name)s",
    "E'\\x27'",
    "\u02bc or 1=1",
    "\uff07 or 1=1",
    "\u2028--\n/*",
    "*/ union select 1 --",
    "name) or (1=1",
    "a" * 5_000,
    "\t\r\n",
    "😀",
    "ß",
    "İ",
    "\x02\x7f",
    "null",
    "true",
    "@p1",
]

PLACES = [
    "$filter=name eq '{text}'",
    "$filter=name ne '{text}'",
    "$filter=contains(name,'{text}')",
    "$filter=startswith(name,'{text}')",
    "$filter=name in ('{text}','x')",
    "$filter=concat(name,'{text}') eq '{text}'",
    "$filter=indexof(name,'{text}') gt 0",
    "$filter=name eq @p1&@p1='{text}'",
    "$filter=primarycontactid/fullname eq '{text}'",
    "$filter=contact_customer_accounts/any(c:c/fullname eq '{text}')",
    "$filter=Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=['{text}'])",
    "$expand=contact_customer_accounts($filter=fullname eq '{text}')",
    "$filter=accountid eq '{text}'",
    "$filter=createdon gt '{text}'",
    "$filter={raw}",
    "$filter=name eq {raw}",
    "$filter={raw} eq 'x'",
    "$filter=Microsoft.Dynamics.CRM.In(PropertyName='{text}',PropertyValues=['x'])",
    "$filter=Microsoft.Dynamics.CRM.{raw}(PropertyName='name')",
    "$select={raw}",
    "$orderby={raw}",
    "$orderby=name {raw}",
    "$expand={raw}",
    "$expand=primarycontactid($select={raw})",
    "$top={raw}",
    "$count={raw}",
    "$skiptoken={raw}",
    "${raw}=1",
    "@{raw}=1",
]


@pytest.fixture(scope="module")
async def fingerprint(sample: asyncpg.Connection) -> str:
    return await fingerprint_of(sample)


async def fingerprint_of(sample: asyncpg.Connection) -> str:
    rows = await sample.fetch("select * from sample.account order by accountid")
    tables = await sample.fetch("select table_name from information_schema.tables where table_schema = 'sample'")
    return repr(([tuple(row) for row in rows], sorted(row[0] for row in tables)))


@pytest.mark.parametrize("place", PLACES)
async def test_text_stays_text(sample: asyncpg.Connection, fingerprint: str, place: str) -> None:
    planner = Planner(TABLES, "dataverse")
    for text in CORPUS:
        query = place.replace("{text}", quote(text.replace("'", "''"))).replace("{raw}", quote(text))
        try:
            asked = planner.ask("account", query)
            rows = await sample.fetch(asked.sql, *asked.arguments)
            found = asked.page(rows).records
            if "eq '{text}'" in place and "name eq" in place and "expand" not in place:
                assert not found, text
        except IsthmusError as refusal:
            assert isinstance(refusal, Rejected), (text, refusal)
            assert (
                "{text}" not in place
                or place.startswith(("$filter=accountid", "$filter=createdon"))
                or ("PropertyName='{text}'" in place)
            ), (text, refusal)
    assert await fingerprint_of(sample) == fingerprint


async def test_a_text_finds_exactly_itself(sample: asyncpg.Connection) -> None:
    """Each text of the corpus, stored, is found by eq, contains and the address of its key, bound and inlined."""
    planner = Planner(TABLES, "dataverse")
    transaction = sample.transaction()
    await transaction.start()
    try:
        for number, text in enumerate(CORPUS):
            await sample.execute(
                "insert into sample.account (accountid, name) values ($1, $2)", account_id(100 + number), text
            )
        for number, text in enumerate(CORPUS):
            escaped = quote(text.replace("'", "''"))
            asked = planner.ask("account", f"$filter=name eq '{escaped}'")
            found = [json.loads(row[0])["name"] for row in await sample.fetch(asked.sql, *asked.arguments)]
            assert text in found
            assert all(name.lower() == text.lower() for name in found)
            asked = planner.ask("account", f"$filter=contains(name,'{escaped}')")
            assert text in [json.loads(row[0])["name"] for row in await sample.fetch(asked.sql, *asked.arguments)]
            condition = parse_filter("name eq '" + text.replace("'", "''") + "'", ACCOUNT, TABLES)
            where = compile_condition(condition, "a", [], inline=True)
            assert await sample.fetchval(
                f"select bool_or(accountid = $1) from sample.account a where {where}", account_id(100 + number)
            )
            (segment,) = parse_path(f"accounts(name='{escaped}')")
            literal = segment.key["name"].literal
            asked = planner.ask_one("account", {"name": literal})
            assert await sample.fetchval(asked.sql, *asked.arguments) is not None
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("text", CORPUS, ids=[ascii(text)[:30] for text in CORPUS])
async def test_ranges_take_text_as_text(sample: asyncpg.Connection, fingerprint: str, text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    for pattern in ('(OrganizationName == "{}")', '(OrganizationName like "{}")', "{}", "({} == 5)"):
        try:
            condition = parse_range(pattern.format(quoted), CUSTOMER)
        except Rejected:
            assert not pattern.startswith("(OrganizationName =="), text
            continue
        for inline in (True, False):
            parameters: list[object] = []
            where = compile_condition(condition, "c", parameters, relations=ENTITIES, inline=inline)
            await sample.fetch(f"select 1 from sample.customer c where {where}", *parameters)
    assert await fingerprint_of(sample) == fingerprint


@pytest.mark.parametrize("text", CORPUS, ids=[ascii(text)[:30] for text in CORPUS])
async def test_names_and_labels_of_definitions_are_quoted(sample: asyncpg.Connection, text: str) -> None:
    """Not even a definition can put SQL into a statement, though it may name columns and labels as it likes."""
    name = text[:20]
    odd = relation(
        "odd",
        [
            column(f"n{text}", Kind.INTEGER, physical=name, labels={}),
            column("choice", Kind.CHOICE, labels={1: text}),
            column("symbol", Kind.ENUM, labels={1: text}),
            column("flag", Kind.BOOLEAN, labels={1: text, 0: text}),
        ],
        [],
        sql_name=f"(select 5 as {quote_identifier(name)}, 1 as choice, 1 as symbol, true as flag)",
        key=(name,),
    )
    asked = Planner({"odd": odd}, "dataverse").ask("odd", "", WireOptions(formatted_values=True))
    record = json.loads(await sample.fetchval(asked.sql, *asked.arguments))
    assert record[f"n{text}"] == 5
    assert record["symbol"] == text
    assert record["choice@OData.Community.Display.V1.FormattedValue"] == text
    assert record["flag@OData.Community.Display.V1.FormattedValue"] == text


@pytest.mark.parametrize("text", CORPUS, ids=[ascii(text)[:30] for text in CORPUS])
async def test_quoting(sample: asyncpg.Connection, text: str) -> None:
    for conforming in ("on", "off"):
        await sample.execute(f"set standard_conforming_strings = {conforming}")
        try:
            # the comment keeps the driver from reusing a statement that was read under the other setting
            assert await sample.fetchval(f"select /* {conforming} */ {quote_literal(text)}") == text
            if len(text.encode()) <= 63:
                assert (
                    await sample.fetchval(
                        f"select {quote_identifier(text)} from (select 1 as {quote_identifier(text)}) r"
                    )
                    == 1
                )
        finally:
            await sample.execute("set standard_conforming_strings = on")


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 64, "ü" * 32])
def test_impossible_identifiers_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        quote_identifier(name)


def test_nul_is_no_constant() -> None:
    with pytest.raises(ValueError):
        quote_literal("a\x00b")


async def test_tokens_take_text_as_text(sample: asyncpg.Connection, fingerprint: str) -> None:
    planner = Planner(TABLES, "dataverse")
    for text in CORPUS:
        asked = planner.ask("account", "$orderby=name", page_size=1)
        token = write_token(asked.digest, None, [text, str(account_id(1))])
        again = planner.ask("account", f"$orderby=name&$skiptoken={token}", page_size=1)
        await sample.fetch(again.sql, *again.arguments)
        with pytest.raises(Rejected):
            planner.ask("account", f"$orderby=name&$skiptoken={write_token(asked.digest, None, ['x', text])}")
    assert await fingerprint_of(sample) == fingerprint


def test_a_key_literal_is_converted() -> None:
    planner = Planner(TABLES, "dataverse")
    for text in CORPUS:
        with pytest.raises(Rejected):
            planner.ask_one("account", {"accountid": Literal("text", "'" + text.replace("'", "''") + "'")})
