-- name: sessions_others
-- Other client sessions on the server, in any database.
select datname as database, application_name as name, count(*) as sessions
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
group by 1, 2 order by 1, 2;
