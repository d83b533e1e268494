r"""X++ query ranges: what they find, and what is refused."""

from __future__ import annotations

import asyncpg
import pytest
from tests.query.sample_relations import CUSTOMER, ENTITIES

from isthmus.errors import Rejected
from isthmus.query.ranges import parse_range, parse_range_syntax
from isthmus.query.sql import compile_condition

RANGES: list[tuple[str, list[str]]] = [
    ('(OrganizationName == "CONTOSO retail")', ["usmf:US-001"]),
    ("(organizationname == 'Contoso Retail')", ["usmf:US-001"]),
    ('(OrganizationName != "")', ["usmf:US-001", "usmf:US-002"]),
    ('(OrganizationName = "")', ["dat:US-001", "usmf:US-003"]),
    ('(OrganizationName like "contoso*")', ["usmf:US-001", "usmf:US-002"]),
    ('(OrganizationName like "*w?olesale")', ["usmf:US-002"]),
    ('(!(OrganizationName like "*contoso*"))', ["dat:US-001", "usmf:US-003"]),
    ('(OrganizationName like "100%")', []),
    ('(Memo == "")', ["dat:US-001", "usmf:US-001", "usmf:US-003"]),
    ('(Memo != "")', ["usmf:US-002"]),
    ('("contoso retail" == OrganizationName)', ["usmf:US-001"]),
    ("((Visits > -2) && (Visits <= 0))", ["dat:US-001", "usmf:US-002", "usmf:US-003"]),
    ("(5 == Visits)", ["usmf:US-001"]),
    ("(4 < Visits)", ["usmf:US-001"]),
    ("(CreditLimit <> 0)", ["dat:US-001", "usmf:US-001"]),
    ("(CreditLimit >= 12.5)", ["dat:US-001", "usmf:US-001"]),
    ("(CreditLimit == 5000) || (Visits == -1)", ["dat:US-001", "usmf:US-001"]),
    ("(OnHoldStatus == CustVendorBlocked::Invoice)", ["usmf:US-001"]),
    ('(OnHoldStatus == "never_pay")', ["dat:US-001"]),
    ("(OnHoldStatus == 3)", ["dat:US-001"]),
    ("(OnHoldStatus == 0)", ["usmf:US-002", "usmf:US-003"]),
    ("(IsOneTime == NoYes::Yes)", ["usmf:US-002"]),
    ("(Flag == NoYes::Yes)", ["dat:US-001", "usmf:US-001"]),
    ("(Flag == 0)", ["usmf:US-002", "usmf:US-003"]),
    (r"(Since <= 15\01\2020)", ["usmf:US-001", "usmf:US-002", "usmf:US-003"]),
    (r"(Since > 15\1\2020)", ["dat:US-001"]),
    (r"(Changed > 06\05\2024)", ["usmf:US-001"]),
    ('(CustomerAccount == "US-001") && !(dataAreaId == "DAT")', ["usmf:US-001"]),
    ("(Customer.Visits == 5)", ["usmf:US-001"]),
    ("(Visits == CreditLimit)", ["usmf:US-002", "usmf:US-003"]),
    ('(CustomerGroupId == "10" && dataAreaId == "usmf" || Visits == -1)', ["dat:US-001", "usmf:US-001"]),
    ("(RowGuid == '11111111-1111-1111-1111-111111111111')", ["usmf:US-001"]),
    ('(RowGuid == "")', ["dat:US-001", "usmf:US-002", "usmf:US-003"]),
]


@pytest.mark.parametrize(("text", "expected"), RANGES, ids=[text for text, _ in RANGES])
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "bound"])
async def test_range_finds(sample: asyncpg.Connection, text: str, expected: list[str], inline: bool) -> None:
    parameters: list[object] = []
    where = compile_condition(parse_range(text, CUSTOMER), "c", parameters, relations=ENTITIES, inline=inline)
    statement = f"select dataareaid || ':' || customeraccount from sample.customer c where {where} order by 1"
    assert [row[0] for row in await sample.fetch(statement, *parameters)] == expected


REFUSED: list[tuple[str, str, str]] = [
    ("", "query_syntax", "missing"),
    ("Visits", "query_syntax", "missing"),
    ("(Visits == )", "query_syntax", "position 12"),
    ("(Visits == 5", "query_syntax", "missing"),
    ("Visits eq 5", "query_syntax", "position 8"),
    ('(OrganizationName == "x)', "query_syntax", "position 22"),
    ("(Nothing == 5)", "property_not_found", "Nothing"),
    ("(5 == 5)", "type_mismatch", "field"),
    ("(Visits == 'many')", "type_mismatch", "many"),
    ("(OnHoldStatus == 'Sometimes')", "type_mismatch", "Sometimes"),
    ("(OnHoldStatus == NoYes::Yes)", "type_mismatch", "NoYes"),
    (r"(Since == 31\02\2020)", "type_mismatch", "date"),
    ('(Visits like "1*")', "type_mismatch", "like"),
    ("(OrganizationName == Visits)", "type_mismatch", "Visits"),
    ("(Flag == 2)", "type_mismatch", "Flag"),
    ("((" * 40 + "Visits == 1" + "))" * 40, "query_too_complex", "64"),
    ("!" * 65 + "(Visits == 1)", "query_too_complex", "64"),
    (" && ".join(["(Visits == 1)"] * 1_001), "query_too_complex", "2,000"),
]


@pytest.mark.parametrize(("text", "code", "named"), REFUSED, ids=[text[:40] for text, _, _ in REFUSED])
def test_range_is_refused(text: str, code: str, named: str) -> None:
    with pytest.raises(Rejected) as refusal:
        parse_range(text, CUSTOMER)
    assert refusal.value.code == code
    assert named in refusal.value.message


def test_names_used_need_no_relation() -> None:
    assert parse_range_syntax('((A == "x") || !(b.C like "y*")) && (d > 5)') == {"A", "C", "d"}
