"""Addresses cut into segments."""

from __future__ import annotations

import time

import pytest

from isthmus.errors import Rejected
from isthmus.query.odata_path import parse_path

ID = "1d8a2b10-0000-0000-0000-00000000000a"

PATHS: list[tuple[str, list[tuple[str, dict[str, str] | None]]]] = [
    ("", []),
    ("/", []),
    ("accounts", [("accounts", None)]),
    ("accounts/", [("accounts", None)]),
    ("accounts/$count", [("accounts", None), ("$count", None)]),
    (f"accounts({ID})", [("accounts", {"": ID})]),
    (f"accounts({ID})/name/$value", [("accounts", {"": ID}), ("name", None), ("$value", None)]),
    (
        f"accounts({ID})/contact_customer_accounts({ID})/$ref",
        [("accounts", {"": ID}), ("contact_customer_accounts", {"": ID}), ("$ref", None)],
    ),
    (
        f"accounts(accountnumber='x',_msdyn_company_value={ID})",
        [("accounts", {"accountnumber": "'x'", "_msdyn_company_value": ID})],
    ),
    (
        "CustomersV3(dataAreaId=%27usmf%27,CustomerAccount=%27US%2F001%27)",
        [("CustomersV3", {"dataareaid": "'usmf'", "customeraccount": "'US/001'"})],
    ),
    ("Groups('a''b')", [("Groups", {"": "'a''b'"})]),
    ("Groups(Id='O'Brien',Name='x')", [("Groups", {"id": "'O''Brien'", "name": "'x'"})]),
    ("Groups('O'Brien')/Name", [("Groups", {"": "'O''Brien'"}), ("Name", None)]),
    ("Groups('a(b)/c,d=e')/$count", [("Groups", {"": "'a(b)/c,d=e'"}), ("$count", None)]),
    ("Groups('a+b%20c')", [("Groups", {"": "'a+b c'"})]),
    ("Groups('')", [("Groups", {"": "''"})]),
    ("Rows(5637144576)", [("Rows", {"": "5637144576"})]),
    ("WhoAmI", [("WhoAmI", None)]),
    ("RetrieveVersion()", [("RetrieveVersion", {})]),
    (
        "Microsoft.Dynamics.CRM.Fn(Query=@p1,Kind=Microsoft.Dynamics.CRM.K'A')",
        [("Microsoft.Dynamics.CRM.Fn", {"query": "@p1", "kind": "Microsoft.Dynamics.CRM.K'A'"})],
    ),
    (
        "EntityDefinitions(LogicalName='account')/Attributes",
        [("EntityDefinitions", {"logicalname": "'account'"}), ("Attributes", None)],
    ),
]


@pytest.mark.parametrize(("path", "expected"), PATHS, ids=[path for path, _ in PATHS])
def test_path(path: str, expected: list[tuple[str, dict[str, str] | None]]) -> None:
    found = [
        (
            segment.name,
            None
            if segment.arguments is None
            else {
                name: argument.literal.text if argument.literal else argument.text
                for name, argument in segment.key.items()
            },
        )
        for segment in parse_path(path)
    ]
    assert found == expected


def test_alias() -> None:
    (segment,) = parse_path("F(Query=@p1,Id='@x')")
    assert segment.key["query"].alias == "@p1"
    assert segment.key["id"].alias is None


REFUSED = ["a//b", "a(", "a(1", "a)b", "a(1,2)", "a(x=1,x=2)", "a(x=)", "a(1)b", "a(x='%FF')", "a('%00')", "a/" * 13]


@pytest.mark.parametrize("path", REFUSED)
def test_path_is_refused(path: str) -> None:
    with pytest.raises(Rejected) as refusal:
        parse_path(path)
    assert refusal.value.code in ("path_syntax", "query_syntax", "query_too_complex")


@pytest.mark.parametrize("inside", ["'" * 8_000, "''," * 2_600, "(" * 8_000, "a=" * 4_000, "',a=" * 2_000, " " * 8_000])
def test_hostile_paths_take_no_time(inside: str) -> None:
    started = time.perf_counter()
    for path in (f"a({inside}", f"a({inside})", f"a('{inside})/b"):
        try:
            parse_path(path)
        except Rejected as refusal:
            assert refusal.code in ("path_syntax", "query_too_complex")
    assert time.perf_counter() - started < 1
