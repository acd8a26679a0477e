-- name: deltas_create
-- Create the table of a delta: rows that differ from the base, and under the negative version rows that only hide a key
-- of the base. The CHECK constraint lets it be attached later without a scan.
create table prescore_versions.{table} (
  {columns},
  version integer not null default {version} check (version in ({version}, -{version}))
) with (autovacuum_enabled = false);

-- name: deltas_view
-- Create the whole version: the rows of the delta, and those of the base whose keys the delta does not have.
create view prescore_versions.{view} as
select {delta_columns}, {version}::integer as version
from prescore_versions.{delta} d
where d.version = {version}
union all
select {base_columns}, {version}::integer
from prescore_versions.{base} b
where not exists (select from prescore_versions.{delta} d where {same_key});

-- name: deltas_shared_view
-- Create the whole version as the rows of an earlier one: nothing has changed since.
create view prescore_versions.{view} as
select {columns}, {version}::integer as version from prescore_versions.{earlier};

-- name: deltas_drop_view
-- Drop the view of a version.
drop view if exists prescore_versions.{view};

-- name: deltas_rename
-- Give a table the name of the version that it holds.
alter table prescore_versions.{table} rename to {name};

-- name: deltas_record
-- Record that the version is a delta over a base, and what its run has to score.
update prescore.versions
set rows_table = %(rows_table)s, base_version = %(base_version)s, base_table = %(base_table)s,
    changes = %(changes)s, changes_location = %(location)s
where model = %(model)s and version = %(version)s and state = 'building';

-- name: deltas_record_full
-- Record why every row is scored.
update prescore.versions set changes = %(changes)s
where model = %(model)s and version = %(version)s and state = 'building';

-- name: deltas_record_shared
-- Record that the version has the rows of an earlier one, and with them its snapshot. Nothing is left to score.
update prescore.versions v
set state = 'staged', staged_at = now(), rows_version = e.rows_version, rows_table = e.rows_table,
    rows_stored = e.rows_stored, kept = e.kept, base_version = e.base_version, base_table = e.base_table,
    content_version = e.content_version, rows = e.rows, rejected = coalesce(v.rejected, e.rejected - c.rejected) + c.rejected,
    snapshot_location = e.snapshot_location, snapshot_fingerprint = e.snapshot_fingerprint,
    snapshot_chunks = e.snapshot_chunks, snapshot_rows = coalesce(v.snapshot_rows, e.snapshot_rows),
    data_as_of = coalesce(%(data_as_of)s, v.data_as_of, v.as_of, v.started_at),
    unchanged_value = coalesce(v.unchanged_value, e.unchanged_value), signature = e.signature,
    changes = %(changes)s
from prescore.versions e
cross join lateral (select coalesce(sum(c.rejected), 0) as rejected from prescore.chunks c
                    where c.model = e.model and c.version = e.rows_version) c
where v.model = %(model)s and v.version = %(version)s and v.state = 'building'
  and e.model = v.model and e.version = %(earlier)s;

-- name: deltas_copy_rejects
-- Record the rows that the earlier version rejected while it scored them, as the same rows are rejected again, or with
-- `frozen` all rows that it rejected.
insert into prescore.rejects (model, version, chunk, key, column_name, reason)
select r.model, %(version)s, r.chunk, r.key, r.column_name, r.reason
from prescore.rejects r where r.model = %(model)s and r.version = %(earlier)s and (r.chunk is not null or %(frozen)s);

-- name: deltas_count
-- The number of rows in a table.
select count(*) as rows from prescore_versions.{table};

-- name: deltas_count_replaced
-- The number of rows of the base that a delta replaces or hides. LIMIT has each key looked up in the base's index: the
-- base is not read as a whole. In the order of the keys, this takes half the time.
select count(*) as rows
from (select {keys} from prescore_versions.{delta} order by {keys}) d
cross join lateral (select from prescore_versions.{base} b where {same_key} limit 1) b;

-- name: deltas_keys
-- A temporary table for keys, which ends with the transaction.
create temporary table {table} ({columns}) on commit drop;

-- name: deltas_hide
-- Hide the rows of the base whose keys were to be scored and are in the delta neither: they were rejected.
insert into prescore_versions.{table} ({keys}, version)
select {keys}, -{version} from {scored}
on conflict do nothing;

-- name: deltas_read
-- Read a whole version in binary.
copy (select {columns} from prescore_versions.{view}) to stdout (format binary);

-- name: deltas_write
-- Write it, already frozen, into a table that the same transaction created.
copy prescore_versions.{table} ({columns}) from stdin (format binary, freeze);

-- name: deltas_record_flat
-- Record that a delta has become a full version: its table has all rows.
update prescore.versions
set rows_table = table_name, base_version = null, base_table = null
where model = %(model)s and version = %(version)s and state = 'building';

-- name: deltas_record_copy
-- Add a full version that is a copy of another one: all that is not named here stays as it is.
insert into prescore.versions
select c.*
from prescore.versions v
cross join lateral jsonb_populate_record(v, jsonb_build_object(
  'version', %(number)s::integer, 'id', gen_random_uuid(), 'state', 'checked', 'table_name', %(table_name)s::text,
  'rows_version', %(number)s::integer, 'rows_table', %(table_name)s::text, 'rows_stored', %(rows)s::bigint, 'updated', 0,
  'base_version', null, 'base_table', null, 'changes', %(changes)s::jsonb, 'changes_location', null,
  'snapshot_location', %(location)s::text, 'comparison', null, 'seconds', '{{}}'::jsonb, 'to_publish', false,
  'attached_at', null, 'started_at', now(), 'staged_at', now(), 'checked_at', now(), 'published_at', null,
  'superseded_at', null, 'pinned_at', null)) c
where v.model = %(model)s and v.version = %(version)s;

-- name: deltas_copy_ledger
-- Record the rows of a copy in the ledger, and how many of its rows were rejected while they were scored.
insert into prescore.chunks (model, version, chunk, rows, rejected, seconds)
select %(model)s, %(number)s, 0, %(rows)s, coalesce(sum(c.rejected), 0), 0
from prescore.chunks c where c.model = %(model)s and c.version = %(rows_version)s;
