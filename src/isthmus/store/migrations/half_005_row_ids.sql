-- Time-ordered ids (GUID version 7) for rows that a statement creates; PostgreSQL makes them itself from version 18 on.
do $$
begin
    if current_setting('server_version_num')::integer >= 180000 then
        create function isthmus.new_row_id() returns uuid language sql volatile parallel safe return uuidv7();
    else
        create function isthmus.new_row_id() returns uuid language sql volatile parallel safe return encode(
            set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing substring(
                int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
            'hex')::uuid;
    end if;
end
$$;
