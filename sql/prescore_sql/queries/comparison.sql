-- name: comparison_keys
-- How the keys of two versions differ.
select count(*) filter (where a.version is null) as added,
       count(*) filter (where b.version is null) as vanished,
       count(*) filter (where a.version is not null and b.version is not null) as common,
       count(*) filter (where a.version is not null and b.version is not null and ({changed})) as changed
from prescore_versions.{a} a full join prescore_versions.{b} b on {matches};

-- name: comparison_number
-- How much a numeric column changed, over the keys that both versions have.
select avg(b.{column}::double precision - a.{column}::double precision) as mean_difference,
       max(abs(b.{column}::double precision - a.{column}::double precision)) as largest_difference
from prescore_versions.{a} a join prescore_versions.{b} b on {matches};
