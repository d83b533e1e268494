-- Later changes of a record wait behind one that was refused: found by key, and by id where the key has changed.
create index queued_change_failed_key on isthmus.queued_change (table_map, record_key, id) where status = 'failed';
create index queued_change_failed_id on isthmus.queued_change (table_map, record_id, id) where status = 'failed';
create index queued_change_renamed on isthmus.queued_change (table_map, (renamed_from ->> 'key'))
    where renamed_from is not null and status in ('waiting', 'failed');

-- The changes that catch-up may deliver now.
create view isthmus.deliverable_change as
select q.* from isthmus.queued_change q
where q.status = 'waiting' and not exists (
    select from isthmus.queued_change f
    where f.status = 'failed' and f.table_map = q.table_map and f.record_key = q.record_key and f.id < q.id
) and not exists (
    select from isthmus.queued_change f
    where f.status = 'failed' and f.table_map = q.table_map and f.record_id = q.record_id and f.id < q.id
);

-- The oldest of them, of some table maps.
create function isthmus.first_deliverable(names text[], size integer)
returns table (id bigint, transaction_id xid8) language sql stable as $$
    select q.id, q.transaction_id from unnest(names) m(name) cross join lateral (
        select d.id, d.transaction_id from isthmus.deliverable_change d
        where d.table_map = m.name order by d.id limit size
    ) q order by q.id limit size
$$;
