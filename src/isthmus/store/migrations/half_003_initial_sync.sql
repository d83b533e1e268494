-- Staged records of initial sync: a table for each part that is written in sets, dropped once the part is done.
create schema isthmus_staging;

-- Keys that live sync has written while their table map was initializing: what initial sync has staged is older.
create table isthmus.gate (
    table_map text not null,
    key text not null,
    primary key (table_map, key)
);

-- The bucket of a key (dual_write.leg_sql.bucket_sql), and the number that a bucket of a table map is locked by.
create function isthmus.gate_bucket(key text) returns integer language sql immutable parallel safe
    return (hashtextextended(coalesce(key, ''), 0) & 4095)::integer;

create function isthmus.gate_lock(table_map text, bucket integer) returns bigint language sql immutable parallel safe
    return hashtextextended('gate/' || table_map || '/' || bucket, 0);

-- For live sync: wait until initial sync has left the buckets of these keys, keep it out, and mark the keys.
create function isthmus.mark_gate(marked_map text, marked_keys text[]) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(l.number)
        from (select distinct isthmus.gate_lock(marked_map, isthmus.gate_bucket(k)) as number
              from unnest(marked_keys) k order by number) l;
    insert into isthmus.gate (table_map, key) select marked_map, k from unnest(marked_keys) k order by k
        on conflict do nothing;
end
$$;

-- For initial sync: wait until live sync has left these buckets, and keep it out.
create function isthmus.close_gate(closed_map text, buckets integer[]) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(l.number)
        from (select distinct isthmus.gate_lock(closed_map, b) as number from unnest(buckets) b order by number) l;
end
$$;

-- How far an initial sync is: one row for each table map, leg (by its source) and company ('' for all), kept on the half
-- that the leg leads to and changed in the same transactions that write the records.
create table isthmus.initial_sync_part (
    request uuid not null,
    table_map text not null,
    source text not null check (source in ('dataverse', 'finops')),
    company text not null,
    step text not null default 'begun' check (step in ('begun', 'staged', 'loaded', 'completing', 'done')),
    staging text,
    next_bucket integer not null default 0,
    last_id text,
    total bigint not null default 0,
    done bigint not null default 0,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    skipped bigint not null default 0,
    waiting bigint not null default 0,
    began_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    primary key (request, table_map, source, company)
);

-- Records that an initial sync could not write, or not with all of their values; kept on the half that refused them.
-- While `pending`, the initial sync will try again by itself.
create table isthmus.refused_record (
    id bigint generated always as identity unique,
    table_map text not null,
    source text not null check (source in ('dataverse', 'finops')),
    record_id text not null,
    request uuid not null,
    company text not null default '',
    record_key text,
    columns text[] not null default '{}',
    value text,
    missing_parent text,
    code text not null,
    message text not null,
    written boolean not null default false,
    pending boolean not null default true,
    attempts integer not null default 1,
    record jsonb,
    refused_at timestamptz not null default clock_timestamp(),
    primary key (table_map, source, record_id)
);
create index refused_record_pending on isthmus.refused_record (table_map, source, company, record_id) where pending;
