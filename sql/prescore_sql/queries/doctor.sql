-- name: doctor_server
-- What prescore needs to know about the server: release, encoding, durability, room for connections, clock.
select current_setting('server_version') as version, current_setting('server_encoding') as encoding,
       current_setting('fsync')::boolean as fsync, current_setting('full_page_writes')::boolean as full_page_writes,
       current_setting('max_connections')::integer as max_connections, pg_is_in_recovery() as is_standby,
       (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
       pg_backend_pid() as pid, clock_timestamp() as now;

-- name: doctor_old_transactions
-- Transactions of this database that have been open for an hour. They keep retired tables, and dead rows everywhere.
select pid, usename::text as user, application_name as application, xact_start as since
from pg_stat_activity
where datname = current_database() and xact_start < now() - interval '1 hour'
order by xact_start;

-- name: doctor_prepared_transactions
-- Transactions that were prepared for a two-phase commit and never finished. Only COMMIT or ROLLBACK PREPARED ends them.
select gid, owner::text as user, prepared as since
from pg_prepared_xacts where database = current_database() order by prepared;

-- name: doctor_inactive_slots
-- Replication slots without a consumer: the server keeps all WAL since then, until its disk is full.
select slot_name::text as name, slot_type as kind from pg_replication_slots where not active order by slot_name;

-- name: doctor_right
-- Whether this role is the catalog owner, a writer or a reader.
select current_user::text as role, pg_has_role(n.nspowner, 'usage') as is_owner,
       has_table_privilege('prescore.leases', 'insert') as is_writer,
       has_table_privilege('prescore.versions', 'select') as is_reader
from pg_namespace n where n.nspname = 'prescore';

-- name: doctor_stray_tables
-- Tables in the schema of versions that belong to no version and that no model reads.
select c.relname::text as table_name, c.relpages::bigint * current_setting('block_size')::bigint as bytes
from pg_class c
where c.relnamespace = 'prescore_versions'::regnamespace and c.relkind = 'r'
  and not exists (select from prescore.versions v where c.relname in (v.table_name, v.rows_table))
  and not exists (select from pg_inherits i where i.inhrelid = c.oid)
order by c.relname;

-- name: doctor_undropped
-- Retired and failed versions whose table is still there.
select v.model, v.version, v.state, t.bytes
from prescore.versions v
join lateral (
  select sum(c.relpages::bigint * current_setting('block_size')::bigint)::bigint as bytes
  from prescore.own_relations(v) r join pg_class c on c.oid = r.oid
) t on t.bytes is not null
where v.state in ('retired', 'failed')
order by v.model, v.version;

-- name: doctor_unfinished
-- Versions that a run left unfinished more than an hour ago, while no run has the model's lease.
select v.model, v.version, v.state, v.started_at
from prescore.versions v
where v.state in ('building', 'staged') and v.started_at < now() - interval '1 hour'
  and not exists (select from prescore.leases l where l.model = v.model and l.expires_at > now()
                  and (not l.watched or exists (select from pg_stat_activity a where a.datname = current_database()
                                                and a.application_name = 'prescore lease ' || l.token)))
order by v.model, v.version;

-- name: doctor_lost_tables
-- Versions that are published or could be, and whose table is gone, empty, or not attached where readers look for it.
select v.model, v.version, v.state, prescore.table_fault(v) as fault
from prescore.versions v
where v.state in ('checked', 'published', 'superseded') and prescore.table_fault(v) is not null
order by v.model, v.version;

-- name: doctor_edited_tables
-- The tables of published versions, with the rows that each should have, how many were updated or deleted by hand, by the
-- server's statistics, and whether to count its rows, because other inserts were counted than those of its version. Some of
-- these may have been rolled back. A count would wait for a session with an exclusive lock.
select v.model, v.version, v.kept, t.name, t.rows, t.edited,
       pg_stat_get_tuples_inserted(t.oid) <> t.rows and has_table_privilege(t.oid, 'select')
         and not exists (select from pg_locks l
                         where l.relation = t.oid and l.mode = 'AccessExclusiveLock' and l.pid <> pg_backend_pid())
         as is_to_count
from prescore.versions v cross join lateral prescore.stored_tables(v) t
where v.state = 'published' and t.oid is not null
order by v.model, t.is_base;

-- name: doctor_lost_views
-- Models with a published version whose view is gone.
select m.model from prescore.models m
where m.published_version is not null and to_regclass(format('predictions.%%I', m.model)) is null
order by m.model;

-- name: doctor_runtimes
-- The published versions that are scored live as well, and what scored their tables.
select v.model, v.version, v.runtime
from prescore.models m join prescore.versions v on v.model = m.model and v.version = m.published_version
where v.live and v.runtime is not null
order by v.model;

-- name: doctor_files
-- The files that the catalog needs in the store: snapshots of unfinished and retained versions, and model files.
select v.model, v.version, v.state, v.snapshot_location, v.changes_location, v.model_fingerprint
from prescore.versions v
where v.state not in ('failed', 'retired')
order by v.model, v.version;
