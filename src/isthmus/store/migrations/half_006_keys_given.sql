-- Changes of records that name rows without a key: found again when the partner gives those rows their keys.
create index queued_change_unkeyed on isthmus.queued_change (id)
    where status in ('waiting', 'failed') and record ->> 'unkeyed' is not null;
