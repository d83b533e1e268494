"""Expressions of field mappings: what they give in PostgreSQL, what is refused and where, that they stay harmless."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.spoiled import Spoiled, only

from isthmus import solutions
from isthmus.dual_write.calculated import calculated_for_dataverse, calculated_for_finops
from isthmus.dual_write.expression import compile_expression
from isthmus.dual_write.expression_functions import FUNCTIONS
from isthmus.dual_write.expression_syntax import MAX_TERMS, names_in
from isthmus.dual_write.expression_types import Typed, ValueType, dataverse_names, finops_names
from isthmus.errors import Rejected
from isthmus.metadata.catalog import Catalog
from isthmus.metadata.choice import Enum, Member
from isthmus.metadata.entity import DataSource, Entity, EntityField
from isthmus.metadata.table import Column, Table
from isthmus.metadata.table_map import FieldMapping, Transform
from isthmus.metadata.types import ColumnType, FieldType
from isthmus.store.embedded import EmbeddedPostgres

ENUMS = {"NoYes": Enum("NoYes", (Member(0, "No"), Member(1, "Yes")))}
NAMES = {
    "name": Typed(sql="r.name", type=ValueType.TEXT),
    "alias": Typed(sql="r.alias", type=ValueType.TEXT),
    "amount": Typed(sql="r.amount", type=ValueType.NUMBER),
    "count": Typed(sql="r.count", type=ValueType.NUMBER, whole=True),
    "opened": Typed(sql="r.opened", type=ValueType.DATE),
    "changed": Typed(sql="r.changed", type=ValueType.DATE_TIME),
    "blocked": Typed(sql="r.blocked", type=ValueType.ENUM, enum="NoYes"),
    "active": Typed(sql="r.active", type=ValueType.TRUTH),
    "or": Typed(sql="r.other", type=ValueType.TEXT),
}
RECORD = """(select 'Adventure Works'::text as name, null::text as alias, 12.5::numeric as amount, 3::numeric as count,
    date '2024-02-28' as opened, timestamptz '2024-02-28 23:30:00+00' as changed, 1 as blocked, null::boolean as active,
    'o'::text as other) r"""


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return solutions.catalog()


@pytest.fixture(scope="session")
async def connection(server: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.dsn("postgres"))
    await connection.execute("set timezone = 'UTC'")
    yield connection
    await connection.close()


async def value(connection: asyncpg.Connection, text: str) -> Any:
    return await connection.fetchval(f"select {compile_expression(text, NAMES, ENUMS).sql} from {RECORD}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upper(name)", "ADVENTURE WORKS"),
        ("lower(NAME) || '!'", "adventure works!"),
        ("alias || name || alias", "Adventure Works"),
        ("concat(left(name, 3), '-', right(name, 2))", "Adv-ks"),
        ("trim('  a ')", "a"),
        ("length(alias)", 0),
        ("replace(name, 'Works', '''s')", "Adventure 's"),
        ("'O''Neil' || \"a\"\"b\"", "O'Neila\"b"),
        ("1 + 2 * 3 - 4 / 2", 5),
        ("-(amount) - -1", Decimal("-11.5")),
        ("amount / (count - 3)", None),
        ("round(amount)", 13),
        ("round(amount / 3, 2)", Decimal("4.17")),
        ("abs(0 - count)", 3),
        ("text(amount * 2)", "25"),
        ("text(opened)", "2024-02-28"),
        ("text(changed)", "2024-02-28T23:30:00Z"),
        ("text(blocked)", "Yes"),
        ("text(count > 2)", "true"),
        ("coalesce(alias, '', name)", "Adventure Works"),
        ("year(opened) * 100 + month(opened)", 202402),
        ("day(changed)", 28),
        ("adddays(opened, 2)", date(2024, 3, 1)),
        ("adddays(changed, -1)", datetime(2024, 2, 27, 23, 30, tzinfo=UTC)),
        ("adddays(opened, count * 1000000)", None),
        ("date('2024-12-31') > opened", True),
        ("date(changed)", date(2024, 2, 28)),
        ("empty(alias)", True),
        ("empty(amount)", False),
        ("alias = ''", True),
        ("name = 'ADVENTURE works'", True),
        ("name <> 'Adventure Works'", False),
        ("blocked = NoYes::yes", True),
        ("not active", True),
        ("active or count >= 3 and not (count > 3)", True),
        ("if blocked = NoYes::Yes then 'blocked' else if count > 2 then 'many' else 'few'", "blocked"),
        ("(if active then 1 else 2) + 1", 3),
        ("[or]", "o"),
        ("if true then NoYes::Yes else NoYes::No", 1),
    ],
)
async def test_value(connection: asyncpg.Connection, text: str, expected: Any) -> None:
    assert await value(connection, text) == expected


@pytest.mark.parametrize(
    ("text", "code", "position"),
    [
        ("upper(name", "expression_syntax", 11),
        ("name ~ 'a'", "expression_syntax", 6),
        ("name name", "expression_syntax", 6),
        ("", "expression_syntax", 1),
        ("left(name)", "expression_syntax", 1),
        ("nowhere", "expression_name", 1),
        ("1 + sleep(3)", "expression_name", 5),
        ("blocked = NoYes::Maybe", "expression_name", 11),
        ("blocked = Nowhere::Yes", "expression_name", 11),
        ("name + 1", "expression_type", 1),
        ("1 + name", "expression_type", 5),
        ("name = 1", "expression_type", 8),
        ("upper(amount)", "expression_type", 7),
        ("if name then 1 else 2", "expression_type", 4),
        ("if active then 1 else 'a'", "expression_type", 23),
        ("blocked > NoYes::No", "expression_type", 9),
        ("left(name, count)", "expression_type", 12),
        ("round(amount, amount)", "expression_type", 15),
        ("replace(name, alias, 'x')", "expression_type", 1),
        ("date('tomorrow')", "expression_type", 6),
        ("adddays(adddays(opened, 1), 1)", "expression_type", 9),
    ],
)
def test_what_is_wrong_is_named_with_its_position(text: str, code: str, position: int) -> None:
    with pytest.raises(Rejected) as refused:
        compile_expression(text, NAMES, ENUMS)
    assert (refused.value.code, refused.value.details["position"]) == (code, position)
    assert f"position {position}" in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "1" + " + 1" * MAX_TERMS,
        "(" * 50 + "1" + ")" * 50,
        "not " * 50 + "active",
        "'" + "a" * 5_000 + "'",
        "replace(replace(name, 'a', '" + "b" * 100 + "'), 'b', '" + "c" * 100 + "')",
    ],
)
def test_too_much_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        compile_expression(text, NAMES, ENUMS)
    assert refused.value.code == "expression_too_complex"


async def test_the_largest_expression_is_carried_out(connection: asyncpg.Connection) -> None:
    assert await value(connection, " + ".join(["1"] * MAX_TERMS)) == MAX_TERMS
    assert await value(connection, "(" * 18 + "amount" + ")" * 18) == Decimal("12.5")
    nested = "0"
    for _ in range(9):
        nested = f"year(adddays(opened, {nested}))"
    assert len(compile_expression(nested, NAMES, ENUMS).sql) < 3_000
    assert await value(connection, nested) > 2000


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        names_in(text)
    except Rejected as refused:
        assert refused.code in ("expression_syntax", "expression_too_complex")


HOSTILE = ["'); drop table isthmus.link; --", "\\", "'", '"', "$1", "%s", "{0}", "E'\\''", "/* */", "a\nb"]


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_literal_is_only_ever_a_value(connection: asyncpg.Connection, text: str) -> None:
    written = "'" + text.replace("'", "''") + "'"
    assert await value(connection, written) == text
    assert await value(connection, f"replace(name, {written}, '') = name") in (True, False)
    assert await value(connection, f"upper({written} || name)") == (text + "Adventure Works").upper()


def test_every_function_is_tried_and_documented() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")
    page = (Path(__file__).parents[2] / "docs/reference/transforms.md").read_text(encoding="utf-8")
    for name in FUNCTIONS:
        assert f'"{name}(' in tried or f" {name}(" in tried or f"({name}(" in tried, name
        assert f"`{name}(" in page, name


# Results and their destinations ---------------------------------------------------------------------------------------


def entity_of(*fields: EntityField) -> Entity:
    source = DataSource(name="Root", table="Root")
    return Entity(
        aot_name="E", public_name="E", collection="Es", company_specific=False, keys=(), data_sources=(source,),
        fields=fields,
    )  # fmt: skip


def entity_field(name: str, type_: FieldType, **more: Any) -> EntityField:
    return EntityField(name=name, type=type_, source="Root", field=name, **more)


def calculated(text: str, column: Column, *fields: EntityField, **transform: Any) -> Any:
    row = FieldMapping(finops=None, arrow=">>", dataverse="c", transform=Transform(to_dataverse=text, **transform))
    return calculated_for_dataverse(row, entity_of(*fields), "v", column, ENUMS)


async def result(connection: asyncpg.Connection, converted: Any, **given: str) -> tuple[Any, bool]:
    source = ", ".join(f'{sql} as "{name}"' for name, sql in given.items()) or "1 as _"
    row = await connection.fetchrow(
        f"select {converted.sql}, coalesce({converted.fault or 'false'}, false) from (select {source}) v"
    )
    return row[0], row[1]


async def test_number_out_of_range_is_a_fault_and_no_error(connection: asyncpg.Connection) -> None:
    column = Column(name="c", type=ColumnType.INTEGER)
    converted = calculated("A * 3", column, entity_field("A", FieldType.INT))
    assert await result(connection, converted, a="7") == (21, False)
    assert await result(connection, converted, a="2000000000") == (None, True)


async def test_date_out_of_range_is_a_fault_and_no_error(connection: asyncpg.Connection) -> None:
    column = Column(name="c", type=ColumnType.DATE_TIME, format="DateOnly")
    converted = calculated("adddays(D, 900000)", column, entity_field("D", FieldType.DATE))
    assert await result(connection, converted, d="date '1800-01-01'") == (
        date(1800, 1, 1) + timedelta(days=900_000),
        False,
    )
    assert await result(connection, converted, d="date '9998-01-01'") == (None, True)
    backwards = calculated("adddays(D, -1000000)", column, entity_field("D", FieldType.DATE))
    assert await result(connection, backwards, d="date '0001-01-01'") == (None, True)
    assert await result(connection, backwards, d="date '1900-01-01'") == (None, False)


async def test_text_is_cut_and_defaulted(connection: asyncpg.Connection) -> None:
    column = Column(name="c", type=ColumnType.STRING, max_length=4)
    field = entity_field("A", FieldType.STRING)
    converted = calculated("A || A", column, field, truncate=True, default="none")
    assert await result(connection, converted, a="'abc'") == ("abca", False)
    assert await result(connection, converted, a="''") == ("none", False)


async def test_enum_becomes_symbol_or_boolean(connection: asyncpg.Connection) -> None:
    field = entity_field("A", FieldType.ENUM, enum="NoYes")
    symbol = calculated("A", Column(name="c", type=ColumnType.STRING, max_length=9), field)
    assert await result(connection, symbol, a="1") == ("Yes", False)
    flag = calculated(
        "if A = NoYes::No then NoYes::Yes else NoYes::No", Column(name="c", type=ColumnType.BOOLEAN), field
    )
    assert await result(connection, flag, a="1") == (False, False)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("A / 2", ColumnType.INTEGER),
        ("A", ColumnType.STRING),
        ("text(A)", ColumnType.DECIMAL),
        ("A > 1", ColumnType.INTEGER),
        ("date('2024-01-01')", ColumnType.STRING),
    ],
)
def test_result_of_another_type_is_refused(text: str, type_: ColumnType) -> None:
    with pytest.raises(Rejected, match="The expression gives"):
        calculated(text, Column(name="c", type=type_), entity_field("A", FieldType.REAL))


async def test_towards_finops_there_is_always_a_value(connection: asyncpg.Connection) -> None:
    table = Table(
        logical_name="t", schema_name="t", entity_set_name="ts", display_name="T", primary_id="tid",
        columns=(Column(name="a", type=ColumnType.STRING), Column(name="n", type=ColumnType.MONEY)),
    )  # fmt: skip

    def to_finops(text: str, field: EntityField) -> Any:
        row = FieldMapping(finops="F", arrow="<<", dataverse=None, transform=Transform(to_finops=text))
        return calculated_for_finops(row, table, "v", field, ENUMS)

    text = to_finops("upper(a)", entity_field("F", FieldType.STRING))
    assert await result(connection, text, a="null::text") == ("", False)
    number = to_finops("n / 0", entity_field("F", FieldType.REAL))
    assert await result(connection, number, n="5") == (0, False)
    enum = to_finops("if n > 1 then NoYes::Yes else NoYes::No", entity_field("F", FieldType.ENUM, enum="NoYes"))
    assert await result(connection, enum, n="5") == (1, False)
    with pytest.raises(Rejected):
        to_finops("n", entity_field("F", FieldType.ENUM, enum="NoYes"))


async def test_no_value_of_finops_is_no_value_in_an_expression(connection: asyncpg.Connection) -> None:
    column = Column(name="c", type=ColumnType.BOOLEAN)
    converted = calculated("empty(D)", column, entity_field("D", FieldType.DATE))
    assert await result(connection, converted, d="date '1900-01-01'") == (True, False)


def test_every_simple_field_and_column_of_the_catalog_can_be_read(catalog: Catalog) -> None:
    for entity in catalog.entities.values():
        for name, typed in finops_names(entity, "v").items():
            assert compile_expression(f"[{name}]", {name: typed}, catalog.enums) == typed
    for table in catalog.tables.values():
        for name, typed in dataverse_names(table, "t").items():
            assert compile_expression(f"empty({name})", {name: typed}, catalog.enums).type is ValueType.TRUTH


# The check of definitions ---------------------------------------------------------------------------------------------


def test_check_names_the_row_of_an_expression(catalog: Catalog) -> None:
    transform = Transform(to_dataverse="CREDITLIMIT * 'a'")
    found = Spoiled(catalog).row("CREDITLIMIT", arrow=">>", transform=transform)
    code, _, _, field = only(found)
    assert (code, field) == ("expression_type", "CREDITLIMIT")


@pytest.mark.parametrize(
    ("arrow", "transform", "code"),
    [
        ("><", Transform(to_dataverse="upper(CREDITRATING)"), "arrow_unclear"),
        ("=", Transform(truncate=True), "arrow_unclear"),
        (">>", Transform(constant="x"), "arrow_unclear"),
        (">>", Transform(to_dataverse="'a'", value_map={"a": "b"}), "arrow_unclear"),
        ("><", Transform(truncate=True, value_map={"a": "b"}), "arrow_unclear"),
    ],
)
def test_check_refuses_what_contradicts_itself(catalog: Catalog, arrow: str, transform: Transform, code: str) -> None:
    found = Spoiled(catalog).row("SALESMEMO", arrow=arrow, transform=transform)
    assert code in {fault.code for fault in found.faults}, found.text


def test_check_lets_no_key_be_transformed(catalog: Catalog) -> None:
    spoiled = Spoiled(catalog)
    assert "key_transformed" in {
        f.code for f in spoiled.row("CUSTOMERACCOUNT", arrow="><", transform=Transform(truncate=True)).faults
    }
    both = Transform(to_dataverse="upper(CUSTOMERACCOUNT)", to_finops="accountnumber")
    assert {f.code for f in spoiled.row("CUSTOMERACCOUNT", arrow="><", transform=both).faults} == {"key_transformed"}
