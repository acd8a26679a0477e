-- name: lookup_keys
-- Answers to keys in the order asked, with the clocks of the version they are from: one statement, so one version.
-- A key that is not there, and even an empty list of keys, still gets the clocks.
select s.version, s.data_as_of, s.published_at, s.age_seconds, s.max_age_seconds, s.stale,
       k.position, p.found, {outputs}
from predictions.freshness s
left join unnest({key_arrays}) with ordinality as k ({key_names}, position) on true
left join lateral (
  select true as found, {columns} from predictions.{model} v where {key_matches}
) p on true
where s.model = %(model)s
order by k.position;

-- name: lookup_freshness
-- Clocks of every published model, or of one.
select model, version, data_as_of, published_at, age_seconds, max_age_seconds, stale, held
from predictions.freshness
where %(model)s::text is null or model = %(model)s
order by model;

-- name: lookup_described
-- Everything a reader needs to serve a model: its columns and types are in the catalog.
select f.*, m.description, v.key_columns, v.output_columns, v.rows
from predictions.freshness f
join prescore.models m on m.model = f.model
join prescore.versions v on v.model = f.model and v.version = f.version
where %(model)s::text is null or f.model = %(model)s
order by f.model;
