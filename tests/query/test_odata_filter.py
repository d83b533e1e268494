"""What each operator and function of `$filter` finds in real rows, in the manner of each half."""

from __future__ import annotations

import pytest
from tests.query.conftest import Matching
from tests.query.sample_relations import ACCOUNT, CUSTOMER, ENTITIES, TABLES, account_id, contact_id

from isthmus.query.model import Caller
from isthmus.query.odata import parse_filter
from isthmus.query.sql import compile_condition

FILTERS: list[tuple[str, list[int]]] = [
    # comparisons; text has no case; null fits ne and not, and nothing else
    ("name eq 'CONTOSO'", [1]),
    ("name ne 'contoso'", [2, 3, 4, 5, 6]),
    ("name eq null", [5]),
    ("name ne null", [1, 2, 3, 4, 6]),
    ("null eq name", [5]),
    ("name eq ''", [5]),
    ("name ne ''", [1, 2, 3, 4, 6]),
    ("name gt 'd'", [2]),
    ("'d' lt name", [2]),
    ("revenue gt 1000", [1, 2, 6]),
    ("revenue ge 1000.5 and revenue le 2000", [1, 2]),
    ("revenue lt 0", [4]),
    ("revenue eq -5.25", [4]),
    ("revenue eq 1.0005e3", [1]),
    ("numberofemployees eq 250", [2]),
    ("numberofemployees lt 3.5", [3, 4]),
    ("numberofemployees lt 9000000000", [1, 2, 3, 4, 6]),
    ("score lt -1", [2]),
    ("score ge 1e20", [6]),
    ("revenue eq numberofemployees", [3]),
    ("revenue ne numberofemployees", [1, 2, 4, 6]),
    ("creditonhold eq true", [1, 6]),
    ("creditonhold", [1, 6]),
    ("not creditonhold", [2, 3, 4, 5]),
    ("creditonhold ne true", [2, 3, 4, 5]),
    ("creditonhold eq null", [4, 5]),
    ("statecode eq 0", [1, 3, 6]),
    ("statecode eq '1'", [2]),
    ("statecode ne 0", [2, 4, 5]),
    (f"accountid eq {account_id(3)}", [3]),
    (f"accountid eq '{str(account_id(3)).upper()}'", [3]),
    (f"_primarycontactid_value eq {contact_id(2)}", [2]),
    ("_primarycontactid_value eq null", [3, 4, 5]),
    ("_primarycontactid_value eq ''", [3, 4, 5]),
    ("primarycontactid ne null", [1, 2, 6]),
    ("createdon ge 2024-03-01", [2, 6]),
    ("createdon lt 2024-03-01T00:00:00Z", [1, 3]),
    ("createdon eq '2025-06-01T02:00:00+02:00'", [2]),
    ("createdon eq 2025-06-01T02:00:00 02:00", [2]),
    ("createdon gt 2024-02-29T23:30:15", [1, 2, 6]),
    ("opendate eq 2024-02-29", [1]),
    ("opendate eq '2024-02-29'", [1]),
    ("opendate gt 2024-02-29T20:00:00Z", [2, 6]),
    ("opendate lt createdon", [1, 3]),
    ("opendate eq createdon", [2, 6]),
    # logic
    ("name eq 'contoso' or revenue eq 0 and statecode eq 0", [1, 3]),
    ("(name eq 'contoso' or revenue eq 0) and statecode eq 1", []),
    ("not (revenue gt 1000)", [3, 4, 5]),
    ("not not (revenue gt 1000)", [1, 2, 6]),
    ("not (revenue gt 1000 and statecode eq 0)", [2, 3, 4, 5]),
    ("not name eq 'x'", [1, 2, 3, 4, 5, 6]),
    ("true and revenue eq 0", [3]),
    ("false or revenue eq 0", [3]),
    ("1 eq 1 and 'a' eq 'A'", [1, 2, 3, 4, 5, 6]),
    ("name in ('contoso', 'FABRIKAM, INC.')", [1, 2]),
    ("revenue in (0, 1000.5, null)", [1, 3, 5]),
    ("not (name in ('contoso'))", [2, 3, 4, 5, 6]),
    # text functions
    ("contains(name,'TOSO')", [1, 3]),
    ("not contains(name,'toso')", [2, 4, 5, 6]),
    ("contains(name,'toso') eq false", [2, 4, 5, 6]),
    ("startswith(name,'con') eq true", [1, 3]),
    ("endswith(name,'east')", [3]),
    ("contains(name,'%')", [4]),
    ("contains(name,'_')", [4]),
    ("contains(name,'[x]')", [4]),
    ("contains(name,'\\')", [4]),
    ("startswith(name,'100%_SURE')", [4]),
    ("contains(name,'O''Clock')", [6]),
    ("contains(name,'ärger')", [6]),
    ("contains(name,'')", [1, 2, 3, 4, 6]),
    ("contains(name,null)", []),
    ("contains('xx contoso east xx',name)", [1, 3]),
    ("startswith('Contoso is here',name)", [1]),
    ("endswith('this is contoso',name)", [1]),
    ("length(name) eq 7", [1]),
    ("indexof(name,'TOSO') eq 3", [1, 3]),
    ("indexof(name,'zz') eq -1", [1, 2, 3, 4, 6]),
    ("substring(name,3) eq 'toso'", [1]),
    ("substring(name,3,2) eq 'TO'", [1, 3]),
    ("substring(name,-5,9999999999) eq 'contoso'", [1]),
    ("tolower(name) eq 'contoso'", [1]),
    ("toupper(name) eq 'CONTOSO'", [1]),
    ("trim(name) eq 'ärger \"o''clock\"'", [6]),
    ("concat(name,' x') eq 'contoso x'", [1]),
    ("concat(concat(name,', '),name) eq 'Contoso, Contoso'", [1]),
    # dates and numbers
    ("year(createdon) eq 2024", [1, 6]),
    ("month(createdon) eq 2 and day(createdon) eq 29", [1]),
    ("hour(createdon) eq 23 and minute(createdon) eq 30 and second(createdon) eq 15", [1]),
    ("year(opendate) eq 1999", [3]),
    ("date(createdon) eq 2024-02-29", [1]),
    ("createdon lt now()", [1, 2, 3, 6]),
    ("round(revenue) eq 1001", [1]),
    ("floor(revenue) eq -6", [4]),
    ("ceiling(revenue) eq 1001", [1]),
    ("revenue add 5.25 eq 0", [4]),
    ("revenue sub numberofemployees eq 1750", [2]),
    ("numberofemployees mul 2 add 1 eq 21", [1]),
    ("numberofemployees div 4 eq 62", [2]),
    ("revenue div 4 eq 250.125", [1]),
    ("revenue div numberofemployees gt 0", [1, 2, 6]),
    ("numberofemployees mod 4 eq 2", [1, 2]),
    ("(numberofemployees add 1) mul 2 eq 22", [1]),
    ("numberofemployees mul 9000000000000000000 gt 9000000000000000000", [1, 2, 4, 6]),
    # paths and collections
    ("primarycontactid/fullname eq 'ANN BEEBE'", [1]),
    ("primarycontactid/fullname ne 'ann beebe'", [2, 3, 4, 5, 6]),
    ("primarycontactid/fullname eq null", [3, 4, 5, 6]),
    ("primarycontactid/fullname ne null", [1, 2]),
    ("not (primarycontactid/fullname eq 'bob')", [1, 3, 4, 5, 6]),
    ("primarycontactid/birthdate lt 1990-01-01", [1]),
    ("contains(primarycontactid/fullname,'o')", [2]),
    ("primarycontactid/fullname in ('bob','x')", [2]),
    ("primarycontactid/parentcustomerid/name eq 'contoso'", [1, 2]),
    ("parentaccountid/name eq name", []),
    ("parentaccountid/revenue gt revenue", [3]),
    ("parentaccountid/parentaccountid/name eq 'contoso'", [5]),
    ("length(primarycontactid/fullname) eq 3", [2]),
    ("ownerid_contact/fullname eq 'bob'", [1]),
    ("ownerid_account/name eq 'contoso'", [2]),
    ("contact_customer_accounts/any()", [1, 2]),
    ("not contact_customer_accounts/any()", [3, 4, 5, 6]),
    ("contact_customer_accounts/any(c:c/fullname eq 'BOB')", [1]),
    ("contact_customer_accounts/all(c:c/fullname ne null)", [1, 3, 4, 5, 6]),
    ("contact_customer_accounts/any(c:c/fullname eq 'bob') and revenue gt 0", [1]),
    ("account_parent_account/any(a:a/revenue gt revenue)", [1]),
    ("account_parent_account/any(a:a/revenue gt $it/revenue)", [1]),
    ("account_parent_account/any(a:a/account_parent_account/any(b:b/accountid ne a/accountid))", [1]),
    ("account_parent_account/any(a:a/primarycontactid/fullname eq 'bob')", [1]),
    ("primarycontactid/account_primary_contact/any(p:p/name eq 'contoso')", [1]),
    ("visitors/any(v:v/fullname eq 'bob')", [1]),
    ("visitors/any(v:v/fullname eq null)", [1]),
    ("$it/name eq 'contoso'", [1]),
    ("NAME eq 'contoso' and PrimaryContactId/FullName ne null", [1]),
]


@pytest.mark.parametrize(("text", "expected"), FILTERS, ids=[text for text, _ in FILTERS])
async def test_filter_finds(matching: Matching, text: str, expected: list[int]) -> None:
    assert await matching(text) == expected


CRM = "Microsoft.Dynamics.CRM."
USER = Caller(
    user_id=contact_id(1), business_unit_id=contact_id(2), team_ids=(contact_id(3), contact_id(2)), language=7
)

FUNCTIONS: list[tuple[str, list[int]]] = [
    ("""In(PropertyName='name',PropertyValues=["Contoso","o'x"])""", [1]),
    ("""NotIn(PropertyName='name',PropertyValues=["Contoso"])""", [2, 3, 4, 5, 6]),
    ("""In(PropertyName='numberofemployees',PropertyValues=["10","7"])""", [1, 6]),
    ("""In(PropertyName='creditonhold',PropertyValues=["true"])""", [1, 6]),
    ("""In(PropertyName='statecode',PropertyValues=['1'])""", [2]),
    (f"""In(PropertyName='primarycontactid',PropertyValues=["{contact_id(2)}"])""", [2]),
    ("""Between(PropertyName='numberofemployees',PropertyValues=["5","10"])""", [1, 6]),
    ("""NotBetween(PropertyName='numberofemployees',PropertyValues=["5","10"])""", [2, 3, 4, 5]),
    ("""Between(PropertyName='createdon',PropertyValues=["2024-01-01","2024-12-31"])""", [1, 6]),
    ("Contains(PropertyName='name',PropertyValue='toso')", [1, 3]),
    ("ContainValues(PropertyName='categories',PropertyValues=['2','3'])", [1, 2]),
    ("DoesNotContainValues(PropertyName='categories',PropertyValues=['2'])", [2, 3, 4, 5, 6]),
    ("On(PropertyName='createdon',PropertyValue='2024-02-29')", [1]),
    ("On(PropertyName='opendate',PropertyValue=2024-02-29)", [1]),
    ("OnOrAfter(PropertyName='createdon',PropertyValue='2024-03-01')", [2, 6]),
    ("OnOrBefore(PropertyName='createdon',PropertyValue='2024-02-29')", [1, 3]),
    ("InFiscalYear(PropertyName='createdon',PropertyValue=2024)", [1, 6]),
    ("InFiscalPeriod(PropertyName='createdon',PropertyValue=1)", [1, 6]),
    ("InFiscalPeriod(PropertyName='opendate',PropertyValue=4)", [3]),
    ("InFiscalPeriodAndYear(PropertyName='createdon',PropertyValue1=2,PropertyValue2=2025)", [2]),
    ("InOrAfterFiscalPeriodAndYear(PropertyName='createdon',PropertyValue1=1,PropertyValue2=2024)", [1, 2, 6]),
    ("InOrBeforeFiscalPeriodAndYear(PropertyName='createdon',PropertyValue1=4,PropertyValue2=1999)", [3]),
    ("OlderThanXYears(PropertyName='createdon',PropertyValue=5)", [3]),
    ("LastXYears(PropertyName='createdon',PropertyValue=1000)", [1, 2, 3, 6]),
    ("NextXYears(PropertyName='createdon',PropertyValue=1000)", []),
    ("EqualUserId(PropertyName='primarycontactid')", [1]),
    ("NotEqualUserId(PropertyName='_primarycontactid_value')", [2, 3, 4, 5, 6]),
    ("EqualBusinessId(PropertyName='primarycontactid')", [2]),
    ("NotEqualBusinessId(PropertyName='primarycontactid')", [1, 3, 4, 5, 6]),
    ("EqualUserTeams(PropertyName='primarycontactid')", [2, 6]),
    ("EqualUserOrUserTeams(PropertyName='primarycontactid')", [1, 2, 6]),
    ("EqualUserLanguage(PropertyName='numberofemployees')", [6]),
    ("In(PropertyName='primarycontactid/fullname',PropertyValues=['bob'])", [2]),
]


@pytest.mark.parametrize(("text", "expected"), FUNCTIONS, ids=[text[:70] for text, _ in FUNCTIONS])
async def test_query_function_finds(matching: Matching, text: str, expected: list[int]) -> None:
    assert await matching(CRM + text, USER) == expected
    opposite = await matching(f"not {CRM}{text}", USER)
    assert sorted(expected + opposite) == [1, 2, 3, 4, 5, 6]


FINOPS_FILTERS: list[tuple[str, list[str]]] = [
    ("OrganizationName eq 'contoso*'", ["usmf:US-001", "usmf:US-002"]),
    ("OrganizationName eq '*RETAIL'", ["usmf:US-001"]),
    ("OrganizationName eq 'c?ntoso*'", ["usmf:US-001", "usmf:US-002"]),
    ("OrganizationName ne '*contoso*'", ["dat:US-001", "usmf:US-003"]),
    ("OrganizationName eq ''", ["dat:US-001", "usmf:US-003"]),
    ("OrganizationName eq null", ["dat:US-001", "usmf:US-003"]),
    ("OrganizationName ne ''", ["usmf:US-001", "usmf:US-002"]),
    ("OrganizationName ne 'x'", ["dat:US-001", "usmf:US-001", "usmf:US-002", "usmf:US-003"]),
    ("CreditLimit eq 0", ["usmf:US-002", "usmf:US-003"]),
    ("CreditLimit eq null", ["usmf:US-002", "usmf:US-003"]),
    ("CreditLimit lt 1", ["usmf:US-002", "usmf:US-003"]),
    ("CreditLimit ne 0", ["dat:US-001", "usmf:US-001"]),
    ("Since eq 1900-01-01T12:00:00Z", ["usmf:US-002", "usmf:US-003"]),
    ("Since gt 2020-01-01", ["dat:US-001", "usmf:US-001"]),
    ("Since eq null", ["usmf:US-002", "usmf:US-003"]),
    ("Changed eq 2024-05-06T07:08:09Z", ["usmf:US-001"]),
    ("Changed le 1900-01-01T00:00:00Z", ["usmf:US-002", "usmf:US-003"]),
    ("OnHoldStatus eq Microsoft.Dynamics.DataEntities.CustVendorBlocked'Invoice'", ["usmf:US-001"]),
    ("OnHoldStatus eq Microsoft.Dynamics.DataEntities.CustVendorBlocked'neverpay'", ["dat:US-001"]),
    ("OnHoldStatus eq 'never_pay'", ["dat:US-001"]),
    ("OnHoldStatus ne 'No'", ["dat:US-001", "usmf:US-001"]),
    ("OnHoldStatus eq 'No'", ["usmf:US-002", "usmf:US-003"]),
    ("IsOneTime eq Microsoft.Dynamics.DataEntities.NoYes'Yes'", ["usmf:US-002"]),
    ("Flag eq false", ["usmf:US-002", "usmf:US-003"]),
    ("Flag eq Microsoft.Dynamics.DataEntities.NoYes'Yes'", ["dat:US-001", "usmf:US-001"]),
    ("RowGuid eq 11111111-1111-1111-1111-111111111111", ["usmf:US-001"]),
    ("RowGuid eq 00000000-0000-0000-0000-000000000000", ["dat:US-001", "usmf:US-002", "usmf:US-003"]),
    ("Memo eq null", ["dat:US-001", "usmf:US-001", "usmf:US-003"]),
    ("Memo eq ''", ["dat:US-001", "usmf:US-001", "usmf:US-003"]),
    ("Memo ne null", ["usmf:US-002"]),
    ("CustomerGroup/Description eq 'whole'", ["usmf:US-001"]),
    ("dataareaid eq 'USMF' and customeraccount eq 'us-001'", ["usmf:US-001"]),
]


@pytest.mark.parametrize(("text", "expected"), FINOPS_FILTERS, ids=[text for text, _ in FINOPS_FILTERS])
async def test_finops_filter_finds(customers: Matching, text: str, expected: list[str]) -> None:
    assert await customers(text) == expected


async def test_wildcards_are_text_in_dataverse(matching: Matching) -> None:
    assert await matching("name eq 'contoso*'") == []
    assert await matching("endswith(name,'\\*?')") == [4]


def test_an_index_on_lower_case_text_can_serve_a_text_comparison() -> None:
    for table, tables in ((ACCOUNT, TABLES), (CUSTOMER, ENTITIES)):
        name = "OrganizationName" if table is CUSTOMER else "name"
        where = compile_condition(parse_filter(f"{name} eq 'x'", table, tables), "a", [])
        assert where == f'lower(a."{name.lower()}") = lower($1::text)'
