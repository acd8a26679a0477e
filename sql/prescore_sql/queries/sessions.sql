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
