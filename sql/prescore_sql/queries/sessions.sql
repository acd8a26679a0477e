-- name: sessions_others
-- Who else is connected to the server, whichever database they use.
select datname as database, application_name as name, count(*) as sessions
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
group by 1, 2 order by 1, 2;
