-- The state of each table map, the same on both halves; a map without a row is not running.
create table isthmus.table_map_state (
    table_map text primary key,
    state text not null check (state in ('not_running', 'initializing', 'running', 'paused', 'resuming')),
    reason text,
    pauses_itself boolean not null default false,
    version text,
    since timestamptz not null default clock_timestamp(),
    changed_by text,
    queue_alarm_at timestamptz
);

-- Grows with every choice of a version: a process that compiled older table maps compiles them anew.
create table isthmus.table_map_generation (
    one boolean primary key default true check (one),
    generation bigint not null
);
insert into isthmus.table_map_generation (generation) values (1);

-- Changes of paused table maps. The id is drawn while the changed row is locked, so for each record the order of ids is
-- the order of commits; over all records it is not.
create table isthmus.queued_change (
    id bigint generated always as identity primary key,
    table_map text not null,
    operation text not null check (operation in ('upsert', 'delete')),
    record_id text not null,
    record_key text,
    company text,
    record json not null,
    renamed_from json,
    new_values text[],
    principal text not null,
    correlation_id text not null,
    transaction_id xid8 not null default pg_current_xact_id(),
    queued_at timestamptz not null default clock_timestamp(),
    status text not null default 'waiting' check (status in ('waiting', 'failed', 'dismissed')),
    attempts integer not null default 0,
    code text,
    message text,
    field text,
    tried_at timestamptz,
    dismissed_by text,
    dismissed_reason text,
    dismissed_at timestamptz
);
create index queued_change_open on isthmus.queued_change (table_map, id) where status in ('waiting', 'failed');
create index queued_change_open_key on isthmus.queued_change (table_map, record_key)
    where status in ('waiting', 'failed');
create index queued_change_dismissed on isthmus.queued_change (table_map, id) where status = 'dismissed';

-- What is known of these table maps: the generation, the states other than running, which of them have changes in the
-- queue of this half, which of them pause themselves.
create function isthmus.table_map_states(names text[]) returns jsonb language plpgsql stable as $$
begin
    return (
        select jsonb_build_object(
            'generation', (select g.generation from isthmus.table_map_generation g),
            'states', coalesce(jsonb_object_agg(n.name, coalesce(s.state, 'not_running'))
                filter (where n.name is not null and s.state is distinct from 'running'), '{}'),
            'queued', coalesce(jsonb_agg(n.name) filter (where exists (
                select from isthmus.queued_change q where q.table_map = n.name and q.status in ('waiting', 'failed')
            )), '[]'),
            'pausing', coalesce(jsonb_agg(n.name) filter (where s.pauses_itself), '[]')
        )
        from unnest(names) n(name) left join isthmus.table_map_state s on s.table_map = n.name
    );
end
$$;

-- A save enters table maps on the half where it began: what it reads here holds until it ends. The states are read in
-- a statement of their own, so that they are those that stand once the fences are held.
create function isthmus.enter_table_maps(fences bigint[], names text[]) returns jsonb language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(f.fence) from unnest(fences) f(fence);
    return isthmus.table_map_states(names);
end
$$;

-- A save that concerns no table map says so as it commits: as the table maps of that generation were.
create function isthmus.check_generation(fence bigint, known bigint) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(fence);
    if (select g.generation from isthmus.table_map_generation g) <> known then
        raise exception 'the table maps are of another generation' using errcode = 'IS001';
    end if;
end
$$;

-- It joins them on the partner half, and locks records there. The fences here are those that only a half left alone
-- takes for itself.
create function isthmus.join_table_maps(fences bigint[], names text[], records bigint[]) returns jsonb
language plpgsql as $$
declare
    states jsonb;
begin
    perform pg_advisory_xact_lock_shared(f.fence) from unnest(fences) f(fence);
    states := isthmus.table_map_states(names);
    perform pg_advisory_xact_lock(r.record) from unnest(records) r(record);
    return states;
end
$$;
