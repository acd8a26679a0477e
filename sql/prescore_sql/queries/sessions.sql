-- name: sessions_others
-- Other client sessions on the server, in any database.
select datname as database, application_name as name, count(*) as sessions
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
group by 1, 2 order by 1, 2;

-- name: sessions_waiting_for_standby
-- One row while a commit of prescore's waits for a synchronous standby, and what the server waits for.
select current_setting('synchronous_standby_names') as standbys
from pg_stat_activity
where datname = current_database() and usename = current_user and application_name like 'prescore%%'
  and wait_event = 'SyncRep' and query_start < clock_timestamp() - %(seconds)s * interval '0.9 seconds'
limit 1;

-- name: sessions_holding_locks
-- Up to three other sessions that hold a lock on a table or view of prescore's, those with the strongest locks first.
-- What a role may not see of another role's session is null.
select l.pid, a.usename::text as user, nullif(a.application_name, '') as application,
       extract(epoch from clock_timestamp() - a.xact_start)::float8 as transaction_seconds,
       extract(epoch from clock_timestamp() - a.query_start)::float8 as statement_seconds
from pg_locks l
join pg_class c on c.oid = l.relation
join pg_stat_activity a on a.pid = l.pid
where l.granted and l.database = (select oid from pg_database where datname = current_database())
  and c.relnamespace in (select oid from pg_namespace where nspname in ('prescore', 'prescore_versions', 'predictions'))
  and l.pid <> pg_backend_pid() and coalesce(a.xact_start < clock_timestamp() - interval '0.1 seconds', true)
group by l.pid, a.usename, a.application_name, a.xact_start, a.query_start
order by bool_or(l.mode in ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')) desc,
         a.xact_start
limit 3;
