create schema if not exists isthmus;

-- The decisions of saves on both halves. A gid stands here once for all; 'aborted' is recovery's fence.
create table isthmus.decision (
    gid text primary key,
    outcome text not null check (outcome in ('committed', 'aborted')),
    recorded_at timestamptz not null default clock_timestamp()
);

-- The answers to requests that carry a key, durable with the save itself.
create table isthmus.answer (
    principal text not null,
    idempotency_key text not null,
    request_digest bytea not null,
    status integer,
    headers bytea,
    body bytea,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (principal, idempotency_key)
);

create table isthmus.link (
    id text primary key,
    half text not null check (half in ('dataverse', 'finops'))
);
