"""A small sales database, in the manner of each half, and its rows."""

from __future__ import annotations

from uuid import UUID

from isthmus.query.model import Intersect, Kind, Navigation, QueryColumn, Relation


def column(name: str, kind: Kind, **more: object) -> QueryColumn:
    """A column whose physical name is its wire name in small letters."""
    return QueryColumn(**{"name": name, "physical": name.lower(), "kind": kind, **more})


def relation(name: str, columns: list[QueryColumn], navigations: list[Navigation], **more: object) -> Relation:
    return Relation(
        **{
            "name": name,
            "sql_name": f'sample."{name.lower()}"',
            "columns": {item.name.lower(): item for item in columns},
            "navigations": {item.name.lower(): item for item in navigations},
            "set_name": f"{name}s",
            **more,
        }
    )


ETAG = "'W/\"' || {alias}.\"versionnumber\" || '\"'"
STATES = {0: "Active", 1: "Inactive"}
CATEGORIES = {1: "Retail", 2: "Whole, sale", 3: 'The "best"'}

ACCOUNT = relation(
    "account",
    [
        column("accountid", Kind.UUID, nullable=False),
        column("name", Kind.TEXT),
        column("revenue", Kind.DECIMAL, scale=4),
        column("numberofemployees", Kind.INTEGER),
        column("creditonhold", Kind.BOOLEAN, labels={1: "On hold", 0: "Free"}),
        column("createdon", Kind.TIMESTAMP),
        column("opendate", Kind.DATE),
        column("statecode", Kind.CHOICE, labels=STATES),
        column("categories", Kind.CHOICES, labels=CATEGORIES),
        column("score", Kind.DOUBLE),
        column("_primarycontactid_value", Kind.UUID, physical="primarycontactid", lookup_targets=("contact",)),
        column("_parentaccountid_value", Kind.UUID, physical="parentaccountid", lookup_targets=("account",)),
        column(
            "_ownerid_value",
            Kind.UUID,
            physical="ownerid",
            lookup_targets=("contact", "account"),
            type_column="owneridtype",
        ),
        column("entityimage", Kind.BINARY),
        column("versionnumber", Kind.BIG_INT, nullable=False),
    ],
    [
        Navigation(name="primarycontactid", target="contact", many=False, on=(("contactid", "primarycontactid"),)),
        Navigation(name="parentaccountid", target="account", many=False, on=(("accountid", "parentaccountid"),)),
        Navigation(
            name="ownerid_account",
            target="account",
            many=False,
            on=(("accountid", "ownerid"),),
            where=(("owneridtype", "account"),),
        ),
        Navigation(
            name="ownerid_contact",
            target="contact",
            many=False,
            on=(("contactid", "ownerid"),),
            where=(("owneridtype", "contact"),),
        ),
        Navigation(
            name="contact_customer_accounts", target="contact", many=True, on=(("parentcustomerid", "accountid"),)
        ),
        Navigation(name="account_parent_account", target="account", many=True, on=(("parentaccountid", "accountid"),)),
        Navigation(
            name="visitors",
            target="contact",
            many=True,
            intersect=Intersect(
                sql_name="sample.visit",
                ours=(("accountid", "accountid"),),
                theirs=(("contactid", "contactid"),),
            ),
        ),
    ],
    key=("accountid",),
    primary_name="name",
    etag=ETAG,
)

CONTACT = relation(
    "contact",
    [
        column("contactid", Kind.UUID, nullable=False),
        column("fullname", Kind.TEXT),
        column("birthdate", Kind.DATE),
        column("_parentcustomerid_value", Kind.UUID, physical="parentcustomerid", lookup_targets=("account",)),
    ],
    [
        Navigation(name="parentcustomerid", target="account", many=False, on=(("accountid", "parentcustomerid"),)),
        Navigation(
            name="account_primary_contact", target="account", many=True, on=(("primarycontactid", "contactid"),)
        ),
    ],
    key=("contactid",),
    primary_name="fullname",
)

TABLES = {"account": ACCOUNT, "contact": CONTACT}

NO_YES = {0: "No", 1: "Yes"}
BLOCKED = {0: "No", 1: "Invoice", 2: "All", 3: "Never_Pay"}

CUSTOMER = relation(
    "Customer",
    [
        column("dataAreaId", Kind.TEXT, nullable=False),
        column("CustomerAccount", Kind.TEXT, nullable=False),
        column("OrganizationName", Kind.TEXT),
        column("CreditLimit", Kind.DECIMAL),
        column("Since", Kind.DATE, wire_date=True),
        column("Changed", Kind.TIMESTAMP),
        column(
            "OnHoldStatus", Kind.ENUM, labels=BLOCKED, enum_type="Microsoft.Dynamics.DataEntities.CustVendorBlocked"
        ),
        column("IsOneTime", Kind.ENUM, labels=NO_YES, enum_type="Microsoft.Dynamics.DataEntities.NoYes"),
        column("Visits", Kind.INTEGER),
        column("CustomerGroupId", Kind.TEXT),
        column("RowGuid", Kind.UUID),
        column("Flag", Kind.BOOLEAN),
        column("Memo", Kind.TEXT, nullable=False),
    ],
    [
        Navigation(
            name="CustomerGroup",
            target="CustomerGroup",
            many=False,
            on=(("dataareaid", "dataareaid"), ("groupid", "customergroupid")),
        )
    ],
    key=("dataareaid", "customeraccount"),
    no_null=True,
)

CUSTOMER_GROUP = relation(
    "CustomerGroup",
    [
        column("dataAreaId", Kind.TEXT, nullable=False),
        column("GroupId", Kind.TEXT, nullable=False),
        column("Description", Kind.TEXT),
    ],
    [
        Navigation(
            name="Customers",
            target="Customer",
            many=True,
            on=(("dataareaid", "dataareaid"), ("customergroupid", "groupid")),
        )
    ],
    key=("dataareaid", "groupid"),
    no_null=True,
)

ENTITIES = {"Customer": CUSTOMER, "CustomerGroup": CUSTOMER_GROUP}


def account_id(number: int) -> UUID:
    return UUID(int=0xA0000000000000000000000000000000 + number)


def contact_id(number: int) -> UUID:
    return UUID(int=0xC0000000000000000000000000000000 + number)


SCHEMA = """
create schema sample;
create table sample.account (
    accountid uuid primary key, name text, revenue numeric, numberofemployees integer, creditonhold boolean,
    createdon timestamptz, opendate date, statecode integer, categories integer[], score double precision,
    primarycontactid uuid, parentaccountid uuid, ownerid uuid, owneridtype text, entityimage bytea,
    versionnumber bigint not null default 7
);
create table sample.contact (contactid uuid primary key, fullname text, birthdate date, parentcustomerid uuid);
create table sample.visit (accountid uuid, contactid uuid);
create table sample.customer (
    dataareaid text not null, customeraccount text not null, organizationname text, creditlimit numeric, since date,
    changed timestamptz, onholdstatus integer, isonetime integer, visits integer, customergroupid text, rowguid uuid,
    flag boolean, memo text not null default ''
);
create table sample.customergroup (dataareaid text not null, groupid text not null, description text);
"""

ACCOUNT_ROWS = f"""
insert into sample.account
    (accountid, name, revenue, numberofemployees, creditonhold, createdon, opendate, statecode, categories, score,
     primarycontactid, parentaccountid, ownerid, owneridtype, entityimage) values
('{account_id(1)}', 'Contoso', 1000.5, 10, true, '2024-02-29 23:30:15.75+00', '2024-02-29', 0, '{{1,2}}', 1.5,
    '{contact_id(1)}', null, '{contact_id(2)}', 'contact', '\\x00ff10'),
('{account_id(2)}', 'Fabrikam, Inc.', 2000, 250, false, '2025-06-01 00:00:00+00', '2025-06-01', 1, '{{3}}', -2,
    '{contact_id(2)}', '{account_id(1)}', '{account_id(1)}', 'account', null),
('{account_id(3)}', 'contoso EAST', 0, 0, false, '1999-12-31 12:00:00+02', '1999-12-31', 0, '{{}}', 0,
    null, '{account_id(1)}', null, null, null),
('{account_id(4)}', '100%_sure [x]\\*?', -5.25, 3, null, null, null, null, null, null, null, null, null, null, null),
('{account_id(5)}', null, null, null, null, null, null, null, null, null, null, '{account_id(2)}', null, null, null),
('{account_id(6)}', '  Ärger "o''clock" ', 123456.7891, 7, true, '2024-03-01 00:00:00+00', '2024-03-01', 0, null, 1e20,
    '{contact_id(3)}', null, null, null, null);
insert into sample.contact values
('{contact_id(1)}', 'Ann Beebe', '1980-05-17', '{account_id(1)}'),
('{contact_id(2)}', 'bob', null, '{account_id(1)}'),
('{contact_id(3)}', null, '2001-01-01', '{account_id(2)}');
insert into sample.visit values
('{account_id(1)}', '{contact_id(2)}'), ('{account_id(1)}', '{contact_id(3)}'), ('{account_id(3)}', '{contact_id(1)}');
insert into sample.customer values
('usmf', 'US-001', 'Contoso Retail', 5000, '2020-01-15', '2024-05-06 07:08:09+00', 1, 0, 5, '10',
    '11111111-1111-1111-1111-111111111111', true),
('usmf', 'US-002', 'contoso wholesale', 0, '1900-01-01', '1900-01-01 00:00:00+00', 0, 1, 0, '30', null, false),
('usmf', 'US-003', null, null, null, null, null, null, null, null, null, null),
('dat', 'US-001', '', 12.5, '2021-12-31', '2021-12-31 23:59:59+00', 3, 0, -1, '10', null, true);
update sample.customer set memo = 'Noted' where customeraccount = 'US-002';
insert into sample.customergroup values ('usmf', '10', 'Whole'), ('usmf', '30', null), ('dat', '10', 'Other');
"""
