-- name: lookup_keys
-- One row for each key, in the order of the request, with the id of the version that it is from: one statement, so one
-- version. `found` is null if rows of the version cannot be read: its table was truncated or detached, or policies hide
-- its rows. Postgres looks for rows only after it has missed a key.
-- Columns have numbered aliases here, since their own names may be anything, including `position` and `found`.
select {version} as version_id,
       case when {is_detached} then null
            when p.found then true
            when exists (select from {relation}) then false end as found,
       {outputs}
from unnest({key_arrays}) with ordinality as k ({key_names}, position)
left join lateral (
  select true as found, {columns} from {relation} v where {key_matches}
) p on true
order by k.position;

-- name: lookup_delta_keys
-- The same for a delta: each key is looked up in its table, and in that of the base if it is not there. A key under the
-- negative version is hidden. A delta without rows would show rows of the base that it hides, so that is looked for always.
-- `offset 0` keeps Postgres from reading all of a table for many keys.
select {version} as version_id,
       case when {is_detached} or not exists (select from prescore_versions.{delta}) then null
            when d.version is not null then d.version > 0
            when b.found then true
            when exists (select from prescore_versions.{table}) then false end as found,
       {outputs}
from unnest({key_arrays}) with ordinality as k ({key_names}, position)
left join lateral (
  select v.version, {columns} from prescore_versions.{delta} v where {key_matches} offset 0
) d on true
left join lateral (
  select true as found, {columns} from prescore_versions.{table} v where {key_matches} and d.version is null offset 0
) b on true
order by k.position;

-- name: lookup_shown
-- One key in the model's view, for roles that may read nothing else. A join with the view would read all of a delta's base.
select {version} as version_id,
       case when p.found then true when exists (select from predictions.{model}) then false end as found, {outputs}
from (select) one
left join lateral (
  select true as found, {columns} from predictions.{model} v where {key_matches}
) p on true;

-- name: lookup_visible
-- The id of the version that the model's view shows to this statement.
(select s.version_id::text from prescore.visible s where s.model = {model})

-- name: lookup_numbered
-- The id of a version by its number.
(select s.id::text from prescore.versions s where s.model = {model} and s.version = {version})

-- name: lookup_detached
-- Whether any of these tables is not part of the model's table.
(select count(*) from pg_inherits i where i.inhrelid in ({tables})) < {number}

-- name: lookup_page
-- Rows of a version in the order of its key, each with the version's id. The comparison of rows uses the primary key.
select {version} as version_id, {columns}
from prescore_versions.{table} v
where {start}
order by {key}
limit {limit}::bigint;

-- name: lookup_delta_page
-- The same for a delta: as many rows of its own and of its base, each in the order of the key. The id is null if one of
-- the tables has no rows.
select case when exists (select from prescore_versions.{delta}) and exists (select from prescore_versions.{table})
            then {version} end as version_id, {columns}
from (
  (select {names} from prescore_versions.{delta} v
   where v.version > 0 and {start} order by {key} limit {limit}::bigint)
  union all
  (select {names} from prescore_versions.{table} v
   where {start} and not exists (select from prescore_versions.{delta} d where {same_key})
   order by {key} limit {limit}::bigint)
) v
order by {key}
limit {limit}::bigint;

-- name: lookup_version
-- Everything that readers need to serve a version, by its number or, if that is null, the published one, of one model or of
-- all: its columns, its times and its max age. `changes` is the number of rows that were deleted, updated or inserted since
-- the version was complete, by the server's statistics: a reason to count the rows, and not proof, as the changes may have
-- been rolled back. So is a table of a delta or its base without pages, which was truncated, or restored. `stored` are the
-- tables with the version's rows: first that of a delta, unless it has no rows, and last the full one. `is_readable`: this
-- role may read them by their names.
select now() as now, m.model, m.description, m.held_at is not null as held, v.version, v.id::text as id, v.state, v.table_name,
       v.rows, v.kept, v.key_columns, v.output_columns, v.data_as_of, v.published_at, v.max_age_seconds, v.refuse_stale,
       v.cache_seconds, v.in_memory, v.live, v.live_cache_seconds, v.model_fingerprint,
       v.tombstones, canary.version as canary_version, canary.share as canary_share, t.stored,
       coalesce(t.changes, 0) as changes, coalesce(t.is_attached, false) as is_attached,
       coalesce(t.is_readable, false) as is_readable
from prescore.models m
left join prescore.visible s on s.model = m.model
join prescore.versions v on v.model = m.model and v.version = coalesce(%(version)s::integer, s.version)
left join prescore.canaries canary on canary.model = m.model
cross join lateral (
  select jsonb_agg(jsonb_build_object('name', c.name, 'rows', c.rows, 'id', c.id) order by c.is_base)
           filter (where c.rows > 0 or c.is_base or v.base_version is null) as stored,
         sum(c.edited + greatest(pg_stat_get_tuples_inserted(c.oid) - c.rows, 0)
             + case when v.base_version is not null and p.relpages = 0 then c.rows else 0 end)::bigint as changes,
         bool_and(exists (select from pg_inherits i where i.inhrelid = c.oid)) as is_attached,
         bool_and(has_schema_privilege('prescore_versions', 'usage') and has_table_privilege(c.oid, 'select')
                  and not row_security_active(c.oid)) as is_readable
  from prescore.stored_tables(v) c left join pg_class p on p.oid = c.oid
) t
where (%(model)s::text is null or m.model = %(model)s)
  and (%(version)s::integer is null
       or (v.state in ('published', 'superseded', 'checked') and v.trial_rows is null))
order by m.model;

-- name: lookup_signature
-- What a version's model file takes and gives, and what scored its table with it.
select signature, runtime from prescore.versions where model = %(model)s and version = %(version)s and id = %(id)s;

-- name: lookup_versions
-- The versions of a model that can be looked up by number, newest first.
select v.version, v.state, v.data_as_of, v.published_at, v.rows
from prescore.versions v
where v.model = %(model)s and v.state in ('published', 'superseded', 'checked') and v.trial_rows is null
order by v.version desc;

-- name: lookup_earlier
-- The retained versions of a model that were served before a version, newest first.
select v.version from prescore.versions v
where v.model = %(model)s and v.version < %(version)s and v.state in ('published', 'superseded')
order by v.version desc;

-- name: lookup_count
-- The number of rows in the tables of a version.
select {counts} as rows;

-- name: lookup_count_table
-- The number of rows in one of them.
(select count(*) from prescore_versions.{table})

-- name: lookup_ready
-- Fails while lookups cannot be answered, because the catalog is missing or this role may not read it.
select count(*) as models from predictions.freshness;

-- name: lookup_copy
-- Copy a whole version out, for a server that holds it in memory.
copy (select {columns} from prescore_versions.{table}) to stdout (format csv);

-- name: lookup_copy_delta
-- Copy the rows of a delta's own table out, each with whether it only hides a row of the base.
copy (select {columns}, version < 0 from prescore_versions.{table}) to stdout (format csv);
