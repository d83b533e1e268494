-- Long work on table maps. Whoever holds the session's advisory lock on a request's number carries it out.
create table isthmus.table_map_request (
    id uuid primary key default gen_random_uuid(),
    number bigint generated always as identity unique,
    action text not null,
    table_maps text[] not null,
    parameters jsonb not null,
    state text not null default 'waiting' check (state in ('waiting', 'running', 'completed', 'error', 'cancelled')),
    cancel_asked boolean not null default false,
    progress jsonb not null default '[]',
    code text,
    message text,
    requested_by text not null,
    requested_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz
);
create index table_map_request_open on isthmus.table_map_request (number) where state in ('waiting', 'running');

-- Submits a request for those of the table maps that no open request is about; null when there are none. Of two that
-- submit at once the second sees the first.
create function isthmus.submit_if_free(wanted_action text, names text[], given jsonb, asker text) returns uuid
language plpgsql as $$
declare
    free text[];
    submitted uuid;
begin
    perform pg_advisory_xact_lock(1229868877, 0);
    select array_agg(n.name order by n.place) into free from unnest(names) with ordinality n(name, place)
    where not exists (
        select from isthmus.table_map_request r where r.state in ('waiting', 'running') and n.name = any(r.table_maps)
    );
    if free is null then
        return null;
    end if;
    insert into isthmus.table_map_request (action, table_maps, parameters, requested_by)
    values (wanted_action, free, given, asker) returning id into submitted;
    return submitted;
end
$$;
