-- name: profiles_get
-- The profile of a version: a row for each column.
select * from prescore.profiles where model = %(model)s and version = %(version)s;

-- name: profiles_lock
-- Let one session at a time write the profile of a version, until its transaction ends; false while another one does.
select pg_try_advisory_xact_lock(hashtextextended('prescore.profiles ' || %(model)s::text, %(version)s)) as locked;

-- name: profiles_add
-- Keep the profile of a column, unless the version was retired or removed meanwhile.
insert into prescore.profiles (model, version, column_name, edges, buckets, rows, means, deviations, lows, highs, labels)
select v.model, v.version, %(column_name)s, %(edges)s::double precision[], %(buckets)s::integer[], %(rows)s::bigint[],
       %(means)s::double precision[], %(deviations)s::double precision[], %(lows)s::double precision[],
       %(highs)s::double precision[], %(labels)s::jsonb
from prescore.versions v
where v.model = %(model)s and v.version = %(version)s and v.state not in ('failed', 'retired')
on conflict do nothing;

-- name: profiles_remove
-- Delete the profile of a column, to replace it by another one.
delete from prescore.profiles
where model = %(model)s and version = %(version)s and column_name = %(column_name)s;

-- name: profiles_right
-- Whether this session may find and delete profiles.
select bool_and(has_table_privilege('prescore.profiles', privilege)) as granted
from unnest(array['select', 'delete']) privilege;

-- name: profiles_sweep
-- Delete the profiles of versions that have no table any more.
delete from prescore.profiles p using prescore.versions v
where p.model = %(model)s and v.model = p.model and v.version = p.version and v.state in ('failed', 'retired');
