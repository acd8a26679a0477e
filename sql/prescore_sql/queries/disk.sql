-- name: disk_tables
-- The disk space that the tables of all versions and their indexes occupy.
select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint as bytes
from pg_class where relnamespace = 'prescore_versions'::regnamespace and relkind = 'r';

-- name: disk_versions
-- A model's versions that have a table, newest first: the size of the table, the location of the snapshot, whether the
-- table is complete and has all rows, and whether the next run resumes the version or drops it.
select v.snapshot_location,
       t.bytes,
       v.staged_at is not null and v.trial_rows is null and v.rows_table = v.table_name as complete,
       v.state in ('building', 'staged')
       or (v.state = 'checked' and v.to_publish and v.version > coalesce(m.published_version, 0)) as unfinished
from prescore.versions v
join prescore.models m on m.model = v.model
join lateral (
  select sum(pg_total_relation_size(r.oid))::bigint as bytes from prescore.own_relations(v) r
) t on t.bytes is not null
where v.model = %(model)s
order by v.version desc;
