-- name: lookup_keys
-- Answers to keys in the order asked, with the clocks of the version they are from: one statement, so one version.
-- A key that is not there, and even an empty list of keys, still gets the clocks.
-- Columns go by numbers in here: theirs may be any names, `position` and `found` among them.
select s.version, s.data_as_of, s.published_at, s.age_seconds, s.max_age_seconds, s.stale,
       k.position, p.found, {outputs}
from predictions.freshness s
left join unnest({key_arrays}) with ordinality as k ({key_names}, position) on true
left join lateral (
  select true as found, {columns} from predictions.{model} v where {key_matches}
) p on true
where s.model = %(model)s
order by k.position;

-- name: lookup_described
-- Everything a reader needs to serve a model: its columns and types are in the catalog.
select f.model, m.description, f.version, f.data_as_of, f.published_at, f.age_seconds, f.max_age_seconds, f.stale,
       f.held, v.rows, v.key_columns, v.output_columns
from predictions.freshness f
join prescore.models m on m.model = f.model
join prescore.versions v on v.model = f.model and v.version = f.version
where %(model)s::text is null or f.model = %(model)s
order by f.model;

-- name: lookup_columns
-- What to read a key with and what to ask for: the columns of a version, by default the published one's. They never change.
select v.model, v.version, v.key_columns, v.output_columns
from prescore.models m
join prescore.versions v on v.model = m.model and v.version = coalesce(%(version)s::integer, m.published_version)
where m.model = %(model)s;

-- name: lookup_ready
-- Whether lookups can be answered: fails where the catalog is missing or closed to this role.
select count(*) as models from predictions.freshness;

-- name: lookup_session
-- A serving connection: it only reads, gives up in time, and spells values in one way whatever the server's settings are.
select set_config('default_transaction_read_only', 'on', false),
       set_config('statement_timeout', %(statement_timeout)s, false),
       set_config('timezone', 'UTC', false),
       set_config('datestyle', 'ISO', false),
       set_config('extra_float_digits', '1', false);
