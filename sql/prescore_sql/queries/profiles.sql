-- name: profiles_get
-- The profile of a version: a row for each column.
select * from prescore.profiles where model = %(model)s and version = %(version)s;

-- name: profiles_add
-- Keep the profile of a column, unless another session has done so meanwhile.
insert into prescore.profiles (model, version, column_name, edges, buckets, rows, means, deviations, lows, highs, labels)
values (%(model)s, %(version)s, %(column_name)s, %(edges)s, %(buckets)s, %(rows)s, %(means)s, %(deviations)s, %(lows)s,
        %(highs)s, %(labels)s)
on conflict do nothing;

-- name: profiles_remove
-- Delete the profile of a column, to replace it by another one.
delete from prescore.profiles
where model = %(model)s and version = %(version)s and column_name = %(column_name)s;

-- name: profiles_sweep
-- Delete the profiles of versions that have no table any more.
delete from prescore.profiles p using prescore.versions v
where p.model = %(model)s and v.model = p.model and v.version = p.version and v.state in ('failed', 'retired');
