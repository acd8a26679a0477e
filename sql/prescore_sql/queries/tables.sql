-- name: tables_create
-- Create a version's own table. The CHECK constraint lets it be attached later without a scan.
create table prescore_versions.{table} (
  {columns},
  version integer not null default {version} check (version = {version})
) with (autovacuum_enabled = false);

-- name: tables_temporary
-- Create a table that only this session sees.
create temporary table {table} (
  {columns},
  version integer not null default {version}
);

-- name: tables_discard
-- Drop a temporary table.
drop table {table};

-- name: tables_analyze
-- Let the planner know how large a table is.
analyze {table};

-- name: tables_copy
-- Copy a chunk's rows in.
copy {table} ({columns}) from stdin (format binary);

-- name: tables_memory
-- Give the sort that builds the primary key enough memory.
set local maintenance_work_mem = '256MB';

-- name: tables_key
-- Build the primary key, once, after the last chunk.
alter table prescore_versions.{table} add primary key ({keys});

-- name: tables_index
-- Build a secondary index that the spec names.
create index on prescore_versions.{table} ({columns});

-- name: tables_has_key
-- Return whether the primary key exists. A resumed run may find it built.
select exists (
  select from pg_constraint
  where conrelid = format('prescore_versions.%%I', %(table)s::text)::regclass and contype = 'p'
) as has_key;

-- name: tables_vacuum
-- Freeze all rows now, since the table never changes again, so that no later vacuum has to.
vacuum (freeze, analyze) prescore_versions.{table};

-- name: tables_drop
-- Drop a version's table, or an empty partitioned table.
drop table if exists prescore_versions.{table};

-- name: tables_parent
-- Create the partitioned table that the versions of a model are attached to.
create table if not exists prescore_versions.{parent} (
  {columns},
  version integer not null
) partition by list (version);

-- name: tables_columns
-- The columns of a table or view, in order, with their SQL types.
select a.attname as name, format_type(a.atttypid, a.atttypmod) as type
from pg_attribute a
where a.attrelid = to_regclass(%(relation)s) and a.attnum > 0 and not a.attisdropped
order by a.attnum;

-- name: tables_extend
-- Add a column that later versions have. Older versions show NULL.
alter table prescore_versions.{table} add column {column};

-- name: tables_attach
-- Attach a version to its partitioned table. The lock that this takes does not conflict with readers.
alter table prescore_versions.{parent} attach partition prescore_versions.{table} for values in ({values});

-- name: tables_detach
-- Detach a version. Waits for the transactions that may still read it, and blocks none of them.
alter table prescore_versions.{parent} detach partition prescore_versions.{table} concurrently;

-- name: tables_attachment
-- The partitioned table that the table is attached to, if any, and whether a detach of it was interrupted.
select c.relname as parent, i.inhdetachpending as pending
from pg_inherits i join pg_class c on c.oid = i.inhparent
where i.inhrelid = to_regclass(format('prescore_versions.%%I', %(table)s::text));

-- name: tables_dependents
-- Objects that keep a version's table and view from being dropped: views, materialized views, foreign keys and the like,
-- those of other versions as well.
select distinct case when r.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
                     else pg_describe_object('pg_class'::regclass, r.ev_class, 0) end as dependent
from pg_depend d
left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
left join pg_constraint c on d.classid = 'pg_constraint'::regclass and c.oid = d.objid
join prescore.versions v on v.model = %(model)s and v.version = %(version)s
where d.refclassid = 'pg_class'::regclass and d.deptype = 'n'
  and d.refobjid in (select o.oid from prescore.own_relations(v) o)
  and c.conrelid is distinct from d.refobjid
  and coalesce(r.ev_class not in (select o.oid from prescore.own_relations(v) o), true)
order by dependent;

-- name: tables_empty_parents
-- Partitioned tables of a model that its view does not read and that have no version left.
select c.relname as parent
from prescore.models m
join pg_class c on c.relnamespace = 'prescore_versions'::regnamespace and c.relkind = 'p'
  and c.relname ~ ('^' || m.model || '(_V[0-9]+)?$') and c.relname <> coalesce(m.parent_name, m.model)
where m.model = %(model)s and not exists (select from pg_inherits i where i.inhparent = c.oid)
order by c.relname;

-- name: tables_detach_finalize
-- Finish an interrupted detach.
alter table prescore_versions.{parent} detach partition prescore_versions.{table} finalize;

-- name: tables_open_transactions
-- Transactions of other sessions that may have begun before a time, such as when a version was superseded, or while
-- that was being committed. A role may not be allowed to see when another role's transaction began; such a transaction
-- counts as old.
select l.pid, l.virtualxid
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'virtualxid' and l.mode = 'ExclusiveLock' and a.datname = current_database()
  and a.usesysid is not null and a.pid <> pg_backend_pid()
  and coalesce(a.xact_start < %(since)s::timestamptz + interval '10 seconds', true);

-- name: tables_retire_timeout
-- Limit how long detaching and dropping wait for readers.
set statement_timeout = '3s';

-- name: tables_retire_timeout_off
-- Restore the session's own timeout.
reset statement_timeout;

-- name: tables_duplicates
-- Up to three keys that occur more than once, for the error message.
select array[{texts}] as key, count(*) as times
from prescore_versions.{table}
group by {keys} having count(*) > 1
order by {keys} limit 3;

-- name: tables_lock_timeout
-- Make DDL that readers may block give up soon, so that new readers do not queue behind it.
select set_config('lock_timeout', '3s', true), set_config('idle_in_transaction_session_timeout', '10s', true);

-- name: tables_vector
-- Return whether this session can use pgvector's type, the schema that the extension is in, and whether the server has
-- the extension.
select to_regtype('vector') is not null as usable,
       (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector')
         as schema,
       exists (select from pg_available_extensions where name = 'vector') as available;

-- name: tables_count_changes
-- Have the server's statistics count what this session has changed so far.
select pg_stat_force_next_flush();
