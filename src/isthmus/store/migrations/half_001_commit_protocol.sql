create schema if not exists isthmus;

-- The register of decisions and, for requests that carry a key, the ledger of answers: one row, so that both are durable
-- with the save itself. A gid stands here once for all; 'aborted' is recovery's fence.
create table isthmus.decision (
    gid text primary key,
    outcome text not null check (outcome in ('committed', 'aborted')),
    recorded_at timestamptz not null default clock_timestamp()
);

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
