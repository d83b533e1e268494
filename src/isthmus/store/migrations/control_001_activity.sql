create schema if not exists isthmus;

create table isthmus.setting (
    name text primary key,
    value text not null
);

create table isthmus.activity (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    kind text not null,
    table_map text,
    origin text,
    refused_by text,
    record_key text,
    operation text,
    code text,
    message text not null,
    principal text not null,
    correlation_id text not null
);
create index activity_by_map on isthmus.activity (table_map, id desc);
create index activity_by_correlation on isthmus.activity (correlation_id);
