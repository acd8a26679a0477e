-- name: kept_rejected
-- A temporary table for the keys of rejected rows, which ends with the transaction.
create temporary table {table} ({columns}) on commit drop;

-- name: kept_own_clock
-- The time of a row of the served version that is kept already.
s.kept_data_as_of;

-- name: kept_no_clock
-- The same for a version that keeps no row, and may not have the column.
null::timestamptz;

-- name: kept_condition
-- Whether a row of the served version is to be kept: it was not rejected, and its inputs are not too old.
not exists (select from {rejected} r where {same_rejected})
  and coalesce(coalesce({own_clock}, %(clock)s) >= %(since)s::timestamptz, true);

-- name: kept_copy
-- Copy the rows of the served version whose keys a full version does not have.
insert into prescore_versions.{table} ({columns}, kept_data_as_of, version)
select {served_columns}, coalesce({own_clock}, %(clock)s), {version}
from prescore_versions.{source} s
where not exists (select from prescore_versions.{table} t where {same_key})
  and {is_kept};

-- name: kept_count_lost
-- The number of rows of the served version that could be kept, and whose keys a version does not have.
select count(*) as rows
from prescore_versions.{source} s
where not exists (select from prescore_versions.{table} t where {same_key})
  and {is_kept};

-- name: kept_restore
-- Show the rows of the base that a delta hides because their keys have vanished, as they were served.
update prescore_versions.{table} d
set {assignments}, kept_data_as_of = coalesce({own_clock}, %(clock)s), version = {version}
from prescore_versions.{source} s
where d.version = -{version} and {same_key}
  and {is_kept};

-- name: kept_copy_from_delta
-- Copy the rows of the served delta whose keys the new delta does not have, and the base at most as those of kept rows,
-- which are older.
insert into prescore_versions.{table} ({columns}, kept_data_as_of, version)
select {served_columns}, coalesce({own_clock}, %(clock)s), {version}
from prescore_versions.{source} s
where s.version = {source_version}
  and not exists (select from prescore_versions.{table} t where {same_key})
  and not exists (select from prescore_versions.{base} b where {same_base_key} and b.kept_data_as_of is null)
  and {is_kept};

-- name: kept_count
-- The number of kept rows of a version, of those with inputs of a time or later if it is given.
select count(*) as rows from prescore_versions.{table}
where kept_data_as_of is not null and coalesce(kept_data_as_of >= %(since)s::timestamptz, true);

-- name: kept_count_new
-- The number of kept rows whose keys another version has in rows that it does not keep itself. LIMIT has each key looked up
-- in the indexes of that version, which is not read as a whole.
with kept as materialized (select {key} from prescore_versions.{table} where kept_data_as_of is not null)
select count(*) as rows
from kept k
cross join lateral (
  select from prescore_versions.{served} s where {same_key} and {own_clock} is null limit 1
) s;

-- name: kept_left_out
-- A temporary view of a version without its kept rows.
create temporary view {view} as select * from prescore_versions.{table} where kept_data_as_of is null;

-- name: kept_left_out_end
-- Drop it.
drop view pg_temp.{view};

-- name: kept_hide
-- Hide the rows that the base keeps and this version does not: their inputs are too old by now, they were rejected, or the
-- served version hides them.
insert into prescore_versions.{table} ({key}, version)
select {base_key}, -{version}
from prescore_versions.{base} b
where b.kept_data_as_of is not null
  and (b.kept_data_as_of < %(since)s::timestamptz
       or exists (select from {rejected} r where {same_rejected})
       or {is_hidden})
  and not exists (select from prescore_versions.{table} t where {same_table_key});

-- name: kept_hide_all
-- Hide all rows that the base keeps, for a delta that keeps none.
insert into prescore_versions.{table} ({key}, version)
select {key}, -{version} from prescore_versions.{base} where kept_data_as_of is not null
on conflict do nothing;

-- name: kept_is_hidden
-- Whether the served delta hides a row of the base.
exists (select from prescore_versions.{served} s where s.version = -{served_version} and {same_key});
