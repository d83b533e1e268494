-- The activity log tells of everything done to a table map, not only of refused saves.
alter table isthmus.activity
    add column result text not null default 'done' check (result in ('done', 'refused', 'cancelled', 'error')),
    add column records jsonb not null default '[]',
    add column field text,
    add column partner_message text,
    add column cause text,
    add column details jsonb not null default '{}',
    add column about bigint;
update isthmus.activity set kind = 'live_sync_error', result = 'refused' where kind = 'live_sync_refused';
create index activity_by_kind on isthmus.activity (kind, at);
create index activity_by_time on isthmus.activity (at);
create index activity_by_code on isthmus.activity (code, id desc) where code is not null;
create index activity_by_cause on isthmus.activity (cause, id desc) where cause is not null;
create index activity_by_about on isthmus.activity (about) where about is not null;
create index activity_by_record on isthmus.activity using gin (records jsonb_path_ops);

-- Rules that watch the errors of table maps. No table maps named: all of them.
create table isthmus.alert_rule (
    id uuid primary key,
    name text not null,
    enabled boolean not null,
    error_types text[] not null,
    table_maps text[] not null,
    count integer not null check (count > 0),
    interval integer not null check (interval > 0),
    unit text not null check (unit in ('seconds', 'minutes', 'hours', 'days')),
    notify text[] not null,
    action text not null check (action in ('none', 'pause', 'stop')),
    changed_at timestamptz not null default clock_timestamp(),
    changed_by text not null
);
create unique index alert_rule_by_name on isthmus.alert_rule (lower(name));

-- A rule that fired. The action is carried out by whichever process takes it, until `due` it is that one's alone.
create table isthmus.alert (
    id bigint generated always as identity primary key,
    rule uuid not null,
    rule_name text not null,
    table_map text,
    fired_at timestamptz not null default clock_timestamp(),
    errors integer not null,
    first_entry bigint not null,
    last_entry bigint not null,
    error_types text[] not null,
    action text not null,
    state text not null default 'waiting' check (state in ('waiting', 'done', 'failed')),
    attempts integer not null default 0,
    due timestamptz not null default clock_timestamp(),
    outcome text
);
create index alert_by_rule on isthmus.alert (rule, table_map, fired_at desc);
create index alert_waiting on isthmus.alert (due) where state = 'waiting';

create table isthmus.notification (
    id bigint generated always as identity primary key,
    alert bigint not null references isthmus.alert (id) on delete cascade,
    address text not null,
    state text not null default 'waiting' check (state in ('waiting', 'sent', 'failed')),
    attempts integer not null default 0,
    due timestamptz not null default clock_timestamp(),
    outcome text,
    sent_at timestamptz
);
create index notification_waiting on isthmus.notification (due) where state = 'waiting';
create index notification_by_alert on isthmus.notification (alert);
