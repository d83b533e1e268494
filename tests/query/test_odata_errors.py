"""What is refused, with which code, and what the message names."""

from __future__ import annotations

import time

import pytest
from tests.query.sample_relations import ACCOUNT, CUSTOMER, ENTITIES, TABLES

from isthmus.errors import Rejected
from isthmus.query.odata import parse_filter, parse_filter_syntax, parse_options

CRM = "Microsoft.Dynamics.CRM."

REFUSED: list[tuple[str, str, str]] = [
    ("", "query_syntax", "missing"),
    ("name eq", "query_syntax", "position 8"),
    ("name eq 'x", "query_syntax", "position 9"),
    ("name eq 'O'Bryan'", "query_syntax", "position 17"),
    ("name eq 'a' and", "query_syntax", "missing"),
    ("(name eq 'a'", "query_syntax", "')'"),
    ("name eq 'a')", "query_syntax", "position 12"),
    ("name EQ 'a'", "query_syntax", "position 6"),
    ("name = 'a'", "query_syntax", "position 6"),
    ("name eq 'a' or or name eq 'b'", "query_syntax", "position 16"),
    ("name eq `a`", "query_syntax", "position 9"),
    ("name eq @p9", "query_syntax", "@p9"),
    ("startswith(name 'a')", "query_syntax", "position 17"),
    ("name in ()", "query_syntax", "position 10"),
    ("nme eq 'a'", "property_not_found", "nme"),
    ("primarycontactid/nme eq 'a'", "property_not_found", "nme"),
    ("nowhere/name eq 'a'", "property_not_found", "nowhere"),
    ("nowhere/any(o:o/x eq 1)", "property_not_found", "nowhere"),
    ("contact_customer_accounts/any(c:c/nme eq 'a')", "property_not_found", "nme"),
    ("contact_customer_accounts/any(c:fullname eq 'a')", "property_not_found", "fullname"),
    ("primarycontact eq null", "property_not_found", "primarycontact"),
    ("name eq 5", "type_mismatch", "name"),
    ("revenue eq 'a'", "type_mismatch", "revenue"),
    ("revenue eq '1000'", "type_mismatch", "revenue"),
    ("revenue eq true", "type_mismatch", "revenue"),
    ("revenue gt null", "type_mismatch", "null"),
    ("creditonhold eq 1", "type_mismatch", "creditonhold"),
    ("accountid eq 'abc'", "type_mismatch", "GUID"),
    ("createdon gt 'yesterday'", "type_mismatch", "date"),
    ("createdon gt 2024-13-01", "type_mismatch", "date"),
    ("createdon gt 0001-01-01T00:00:00+14:00", "type_mismatch", "date"),
    ("name eq revenue", "type_mismatch", "name"),
    ("numberofemployees eq 99999999999999999999", "type_mismatch", "64"),
    ("revenue gt 1e301", "type_mismatch", "number"),
    ("categories eq '1'", "type_mismatch", "categories"),
    ("entityimage eq entityimage", "type_mismatch", "entityimage"),
    ("name", "type_mismatch", "name"),
    ("length(name)", "type_mismatch", "length"),
    ("revenue add 1", "type_mismatch", "add"),
    ("'a'", "type_mismatch", "filter"),
    ("contains(revenue,'1')", "type_mismatch", "revenue"),
    ("contains(name)", "type_mismatch", "contains"),
    ("length(name,name) eq 1", "type_mismatch", "length"),
    ("year(name) eq 1", "type_mismatch", "year"),
    ("hour(opendate) eq 1", "type_mismatch", "hour"),
    ("name add 1 eq 2", "type_mismatch", "name"),
    ("name/fullname eq 'x'", "type_mismatch", "name"),
    ("contact_customer_accounts/fullname eq 'x'", "type_mismatch", "any"),
    ("primarycontactid/any(c:c/fullname eq 'x')", "type_mismatch", "collection"),
    ("contact_customer_accounts/all()", "type_mismatch", "all"),
    ("contact_customer_accounts/any(c:c)", "type_mismatch", "c"),
    ("contains(name,'a') gt true", "type_mismatch", "condition"),
    ("soundex(name) eq 'x'", "unknown_function", "soundex"),
    (f"{CRM}Nonsense(PropertyName='name')", "unknown_function", "Nonsense"),
    (f"{CRM}Under(PropertyName='accountid',PropertyValue='x')", "not_supported", "Under"),
    (f"{CRM}In(PropertyValues=['x'])", "type_mismatch", "PropertyName"),
    (f"{CRM}In(PropertyName='nme',PropertyValues=['x'])", "property_not_found", "nme"),
    (f"{CRM}In(PropertyName='name')", "type_mismatch", "at least one"),
    (f"{CRM}Between(PropertyName='revenue',PropertyValues=['1'])", "type_mismatch", "two"),
    (f"{CRM}LastXDays(PropertyName='name',PropertyValue=1)", "type_mismatch", "name"),
    (f"{CRM}LastXDays(PropertyName='createdon',PropertyValue=99999999)", "type_mismatch", "365,000"),
    (f"{CRM}LastXDays(PropertyName='createdon')", "type_mismatch", "1 numbers"),
    (f"{CRM}ContainValues(PropertyName='name',PropertyValues=['1'])", "type_mismatch", "name"),
    ("name eq 'a\x00b'", "query_syntax", "control"),
    ("name eq 'a\udc80b'", "query_syntax", "UTF-8"),
    (f"{CRM}In(PropertyName='name',PropertyValues=[\"\\u0000\"])", "query_syntax", "NUL"),
    (f"{CRM}In(PropertyName='name',PropertyValues=[\"\\ud800\"])", "query_syntax", "JSON"),
]


@pytest.mark.parametrize(("text", "code", "named"), REFUSED, ids=[ascii(text)[:60] for text, _, _ in REFUSED])
def test_filter_is_refused(text: str, code: str, named: str) -> None:
    with pytest.raises(Rejected) as refusal:
        parse_filter(text, ACCOUNT, TABLES)
    assert refusal.value.code == code
    assert named in refusal.value.message


FINOPS_REFUSED: list[tuple[str, str, str]] = [
    ("CustomerAccount in ('a')", "not_supported", "in"),
    ("OnHoldStatus eq 'Sometimes'", "type_mismatch", "Sometimes"),
    ("OnHoldStatus eq Microsoft.Dynamics.DataEntities.NoYes'Yes'", "type_mismatch", "NoYes"),
    ("CustomerAccount gt Microsoft.Dynamics.DataEntities.NoYes'Yes' and Visits eq A.B'C'", "type_mismatch", "A.B"),
    (f"{CRM}Today(PropertyName='Since')", "unknown_function", "Today"),
]


@pytest.mark.parametrize(("text", "code", "named"), FINOPS_REFUSED, ids=[text for text, _, _ in FINOPS_REFUSED])
def test_finops_filter_is_refused(text: str, code: str, named: str) -> None:
    with pytest.raises(Rejected) as refusal:
        parse_filter(text, CUSTOMER, ENTITIES, "finops")
    assert refusal.value.code == code
    assert named in refusal.value.message


OPTIONS_REFUSED: list[tuple[str, str]] = [
    ("$skip=1", "not_supported"),
    ("$search=x", "not_supported"),
    ("$apply=aggregate(revenue with sum as x)", "not_supported"),
    ("$nonsense=1", "unknown_option"),
    ("$top=-1", "query_syntax"),
    ("$top=x", "query_syntax"),
    ("$top=99999999999", "query_syntax"),
    ("$count=maybe", "query_syntax"),
    ("$top=1&$top=2", "query_syntax"),
    ("$select=nme", "property_not_found"),
    ("$select=primarycontactid", "property_not_found"),
    ("$select=name,,revenue", "query_syntax"),
    ("$select=name/x", "query_syntax"),
    ("$orderby=nme", "property_not_found"),
    ("$orderby=name up", "query_syntax"),
    ("$orderby='a'", "type_mismatch"),
    ("$expand=nowhere", "property_not_found"),
    ("$expand=*", "not_supported"),
    ("$expand=contact_customer_accounts/$ref", "not_supported"),
    ("$expand=primarycontactid($filter=fullname eq 'x')", "not_supported"),
    ("$expand=primarycontactid($select=nme)", "property_not_found"),
    ("$expand=primarycontactid,primarycontactid", "query_syntax"),
    ("$expand=primarycontactid($select=fullname;$select=fullname)", "query_syntax"),
    ("$expand=primarycontactid($count=null)", "query_syntax"),
    ("$filter=name%20eq%20%27%FF%27", "query_syntax"),
    ("$filter=name%20eq%20%27%00%27", "query_syntax"),
]


@pytest.mark.parametrize(("text", "code"), OPTIONS_REFUSED, ids=[text for text, _ in OPTIONS_REFUSED])
def test_options_are_refused(text: str, code: str) -> None:
    with pytest.raises(Rejected) as refusal:
        parse_options(text, ACCOUNT, TABLES)
    assert refusal.value.code == code


def nested_expand(depth: int) -> str:
    return f"parentaccountid($expand={nested_expand(depth - 1)})" if depth else "parentaccountid"


TOO_MUCH: list[str] = [
    "(" * 65 + "name eq 'a'" + ")" * 65,
    "(" * 30_000,
    "not " * 65 + "creditonhold",
    "not (" * 40 + "creditonhold" + ")" * 40,
    " and ".join(["name eq 'a'"] * 2_001),
    " or ".join(["name eq 'a'"] * 4_000),
    "name in (" + ",".join(["'a'"] * 2_001) + ")",
    "revenue" + " add 1" * 65 + " gt 0",
    "/".join(["parentaccountid"] * 9) + "/name eq 'x'",
    "length(" * 65 + "name" + ")" * 65 + " eq 1",
    "name eq '" + "x" * 65_536 + "'",
    "account_parent_account/any(a:a/" * 6 + "name eq 'x'" + ")" * 6,
]


@pytest.mark.parametrize("text", TOO_MUCH, ids=[text[:20] for text in TOO_MUCH])
def test_too_much_is_refused_quickly(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(Rejected) as refusal:
        parse_filter(text, ACCOUNT, TABLES)
    assert refusal.value.code == "query_too_complex"
    assert time.perf_counter() - started < 1


LARGEST: list[str] = [
    "(" * 64 + "name eq 'a'" + ")" * 64,
    "not " * 64 + "creditonhold",
    " and ".join(["name eq 'a'"] * 2_000),
    "revenue" + " add 1" * 64 + " gt 0",
    "name in (" + ",".join(["'a'"] * 2_000) + ")",
]


@pytest.mark.parametrize("text", LARGEST, ids=[text[:20] for text in LARGEST])
async def test_the_largest_query_is_answered(matching, text: str) -> None:
    assert set(await matching(text)) <= {1, 2, 3, 4, 5, 6}


HOSTILE = [
    "'" * 65_000,
    '"' * 65_001,
    '"\\' * 30_000,
    "-" * 65_000,
    "1" * 65_000,
    "a." * 32_000,
    "' " * 32_001,
    "@" * 9,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:5] for text in HOSTILE])
def test_hostile_texts_take_no_time(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(Rejected):
        parse_filter_syntax(text + " x")
    assert time.perf_counter() - started < 1


def test_expand_is_bounded() -> None:
    parse_options(f"$expand={nested_expand(4)}", ACCOUNT, TABLES)
    with pytest.raises(Rejected) as refusal:
        parse_options(f"$expand={nested_expand(5)}", ACCOUNT, TABLES)
    assert refusal.value.code == "expand_too_large"
    wide = ",".join(
        f"{name}($expand=parentaccountid($expand=parentaccountid),primarycontactid,ownerid_account)"
        for name in ("parentaccountid", "account_parent_account", "ownerid_account")
    )
    with pytest.raises(Rejected) as refusal:
        parse_options(f"$expand={wide},primarycontactid", ACCOUNT, TABLES)
    assert refusal.value.code == "expand_too_large"


def test_names_used_need_no_relation() -> None:
    found = parse_filter_syntax("a eq 1 and b/c ne null or contains(tolower(d),'x') and e/any(o:o/f eq 1)")
    assert {"a", "b/c", "d", "e"} <= found
