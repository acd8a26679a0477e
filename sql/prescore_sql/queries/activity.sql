-- name: activity_run
-- The version that a run works on or left unfinished, and how far the ledger has come. No row without one.
select v.version, v.state, v.started_at, v.trial_rows, v.as_of,
       coalesce((v.changes ->> 'chunks')::integer, v.snapshot_chunks) as chunks, c.chunks as finished_chunks,
       coalesce((v.changes ->> 'new')::bigint + (v.changes ->> 'changed')::bigint, v.snapshot_rows) as rows,
       c.rows as finished_rows,
       c.last_chunk_at
from prescore.versions v
join prescore.models m on m.model = v.model
cross join lateral (
  select count(*) as chunks, coalesce(sum(c.rows + c.rejected), 0)::bigint as rows, max(c.committed_at) as last_chunk_at
  from prescore.chunks c where c.model = v.model and c.version = v.version
) c
where v.model = %(model)s
  and (v.state in ('building', 'staged')
       or (v.state = 'checked' and v.to_publish and v.version > coalesce(m.published_version, 0)))
order by v.version desc limit 1;

-- name: activity_lease
-- Who may write the model until when, and whether a session of the holder is connected. No row when the lease is free,
-- as a watched one is without such a session.
select l.holder, l.expires_at, l.sessions, l.connected
from (
  select l.holder, l.expires_at, l.watched, 'prescore lease ' || l.token as sessions,
         exists (select from pg_stat_activity a
                 where a.datname = current_database() and a.application_name = 'prescore lease ' || l.token) as connected
  from prescore.leases l
  where l.model = %(model)s and l.expires_at > now()
) l
where l.connected or not l.watched;

-- name: activity_waits
-- Sessions of prescore that wait for a lock or for a standby, and the sessions that they wait for. Of other roles'
-- sessions, Postgres shows the wait only to pg_read_all_stats.
select a.pid, a.application_name as application, a.wait_event_type || ': ' || a.wait_event as waits_for,
       a.query_start as since, b.pid as blocker_pid, b.usename::text as blocker_user,
       b.application_name as blocker_application, b.xact_start as blocker_since
from pg_stat_activity a
left join lateral unnest(pg_blocking_pids(a.pid)) as blocker(pid) on true
left join pg_stat_activity b on b.pid = blocker.pid
where a.datname = current_database() and a.application_name in ('prescore', %(sessions)s)
  and a.pid <> pg_backend_pid() and (a.wait_event_type = 'Lock' or a.wait_event = 'SyncRep')
order by a.pid, b.pid;

-- name: activity_readers
-- Retired and failed versions whose table is still there, and the open transactions that may read it: those that have
-- locked it, and those that began before it was retired.
select v.version, a.pid, a.usename::text as user, a.application_name as application, a.xact_start as since
from prescore.versions v
join pg_stat_activity a on a.datname = current_database() and a.pid <> pg_backend_pid() and a.usesysid is not null
where v.model = %(model)s and v.state in ('retired', 'failed')
  and exists (select from prescore.own_relations(v))
  and (a.xact_start < v.retired_at + interval '10 seconds'
       or exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'relation'
                  and l.relation in (select r.oid from prescore.own_relations(v) r)))
order by v.version, a.pid;
