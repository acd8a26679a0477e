-- Schemas, views and functions of the catalog. Applied after the migrations, and again when one of them is gone.

-- name: objects_missing
-- Which of these objects are gone.
select name from (values
  ('schema prescore_versions', to_regnamespace('prescore_versions')::oid),
  ('schema predictions', to_regnamespace('predictions')::oid),
  ('view prescore.visible', to_regclass('prescore.visible')::oid),
  ('view predictions.freshness', to_regclass('predictions.freshness')::oid),
  ('view prescore.canaries', to_regclass('prescore.canaries')::oid),
  ('function prescore.canary_bucket', to_regproc('prescore.canary_bucket')::oid),
  ('function prescore.raise_columns_changed', to_regproc('prescore.raise_columns_changed')::oid),
  ('function prescore.table_fault', to_regproc('prescore.table_fault')::oid),
  ('function prescore.stored_tables', to_regproc('prescore.stored_tables')::oid),
  ('function prescore.own_relations', to_regproc('prescore.own_relations')::oid)
) as needed (name, oid)
where oid is null;

-- name: objects_schemas
-- The schemas of tables and views. That of the catalog itself comes before the first migration.
comment on schema prescore is 'prescore''s catalog: models, versions, chunks, events';
create schema if not exists prescore_versions;
comment on schema prescore_versions
  is 'one table for each version of predictions; read them through the views in schema predictions';
create schema if not exists predictions;
comment on schema predictions is 'one view for each model, which shows its published version';

-- name: objects_stored_tables
-- The tables that hold the rows of a version: one, or that of a delta and, with `is_base`, that of its base. The id is that
-- of the version whose own table it is. `edited` rows were deleted or updated since it was complete, by the server's
-- statistics: a reason to look, and not proof, as the changes may have been rolled back. Updates from before that are left
-- out, unless the statistics count fewer, because they have been lost since.
create or replace function prescore.stored_tables(v prescore.versions)
returns table (name text, oid oid, rows bigint, id uuid, is_base boolean, edited bigint)
language sql stable as $$
  select s.rows_table, c.oid, s.rows_stored, s.id, s.version is not distinct from v.base_version,
         pg_stat_get_tuples_deleted(c.oid) + u.updated - case when u.updated < s.updated then 0 else s.updated end
  from prescore.versions s
  cross join lateral (select to_regclass(format('prescore_versions.%I', s.rows_table))::oid) c (oid)
  cross join lateral (select pg_stat_get_tuples_updated(c.oid)) u (updated)
  where s.model = v.model and s.version in (v.rows_version, v.base_version)
$$;
comment on function prescore.stored_tables is 'the tables that hold the rows of a version, with the rows that each should have';

-- name: objects_own_relations
-- The tables and the view that belong to a version alone, as far as they exist.
create or replace function prescore.own_relations(v prescore.versions)
returns table (name text, oid oid)
language sql stable as $$
  select r.name, to_regclass(format('prescore_versions.%I', r.name))::oid
  from (select v.table_name union select v.rows_table where v.rows_version = v.version) as r (name)
  where to_regclass(format('prescore_versions.%I', r.name)) is not null
$$;
comment on function prescore.own_relations is 'the tables and the view that belong to a version alone, as far as they exist';

-- name: objects_table_fault
-- What happened by hand to a version's table, for status, rollback and doctor. A table that was truncated has no pages
-- in pg_class, and neither has one that was restored and not analyzed. Only then is its size read, which waits for a lock:
-- not if another session holds an exclusive one.
create or replace function prescore.table_fault(v prescore.versions) returns text
language sql stable as $$
  select case
    when t.oid is null or to_regclass(format('prescore_versions.%I', v.table_name)) is null
      then 'was dropped or renamed'
    when coalesce(t.rows, 0) > 0 and t.pages = 0
      and case
            when exists (select from pg_locks l
                         where l.relation = t.oid and l.mode = 'AccessExclusiveLock' and l.pid <> pg_backend_pid())
              then false
            else pg_relation_size(t.oid) = 0
          end
      then 'was truncated'
    when v.state = 'published' and not exists (select from pg_inherits i where i.inhrelid = t.oid)
      then 'was detached from the model''s table'
  end
  from (select c.oid, c.relpages as pages, s.rows
        from prescore.stored_tables(v) s left join pg_class c on c.oid = s.oid) t
  order by 1 nulls last
  limit 1
$$;
comment on function prescore.table_fault
  is 'what happened by hand to the table of a version that should have one; null: nothing';

-- name: objects_visible
-- A transaction that has read a model keeps its list of partitions until it ends, even at read committed, where each
-- statement takes a new snapshot. It must not be pointed at a partition that was attached after it began, so it keeps
-- seeing the previous version. now() is the time at which the transaction began.
create or replace view prescore.visible as
select m.model, s.version, s.id as version_id, coalesce(m.parent_name, m.model) as parent_name,
       s.rows_version, s.base_version
from prescore.models m
left join prescore.versions s
  on s.model = m.model
  and s.version = coalesce(
    (select p.version
     from prescore.publications p
     join prescore.versions v on v.model = p.model and v.version = p.version
     where p.model = m.model and v.attached_at < now() and p.visible_from < now()
     order by p.id desc
     limit 1),
    m.published_version
  );
comment on view prescore.visible
  is 'the version of each model that the current transaction sees, its id, and the partitions that hold its rows';

-- name: objects_canaries
-- A transaction that began before the canary was attached may have a list of partitions without it, so it sees none.
create or replace view prescore.canaries as
select m.model, v.version, v.id as version_id, m.canary_share as share,
       coalesce(m.parent_name, m.model) as parent_name, v.rows_version, v.base_version,
       v.data_as_of, v.published_at
from prescore.models m
join prescore.versions v on v.model = m.model and v.version = m.canary_version
where v.attached_at < now();
comment on view prescore.canaries is 'the canary of each model that has one, as the current transaction sees it';

-- name: objects_canary_bucket
-- The lookup API computes the same in Python.
create or replace function prescore.canary_bucket(model text, variadic key text[]) returns double precision
language sql immutable strict parallel safe as $$
  select ('x' || substr(encode(sha256(convert_to(model || '/' || array_to_string(key, '/'), 'UTF8')), 'hex'), 1, 8))
         ::bit(32)::bigint / 4294967296.0::double precision
$$;
comment on function prescore.canary_bucket
  is 'where a key is between 0 and 1, by its hash: a canary takes the keys below its share';

-- name: objects_columns_changed
-- A breaking change of a model's columns gives it a new partitioned table and a new view. A transaction whose snapshot
-- predates that change but which reads the new view would look for its version in the wrong table, and find no rows.
-- It gets this error instead.
create or replace function prescore.raise_columns_changed(model text) returns integer
language plpgsql stable parallel safe as $$
begin
  raise exception using
    errcode = 'serialization_failure',
    message = format('the columns of predictions.%I changed after this transaction began', model),
    hint = 'Retry the transaction.';
end
$$;
comment on function prescore.raise_columns_changed
  is 'raises a serialization failure: the columns of the model''s view changed after the transaction began';

-- name: objects_freshness
-- The age of each published version, for readers.
create or replace view predictions.freshness as
select m.model,
       v.version,
       v.data_as_of,
       v.published_at,
       extract(epoch from now() - v.data_as_of)::double precision as age_seconds,
       v.max_age_seconds,
       coalesce(extract(epoch from now() - v.data_as_of) > v.max_age_seconds, false) as stale,
       m.held_at is not null as held
from prescore.models m
join prescore.visible s on s.model = m.model
join prescore.versions v on v.model = m.model and v.version = s.version;
comment on view predictions.freshness is 'the age of each published version, and whether it exceeds the max age';
