-- The answers to management requests that carry a key; without a status while the first of them is under way.
create table isthmus.management_answer (
    principal text not null,
    idempotency_key text not null,
    request_digest bytea not null,
    status integer,
    body bytea,
    claimed_at timestamptz not null default clock_timestamp(),
    primary key (principal, idempotency_key)
);
create index management_answer_by_age on isthmus.management_answer (claimed_at);
