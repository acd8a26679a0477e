-- name: lookup_keys
-- A row a key in the order asked, with the version that it is from: one statement, so one version.
-- Columns go by numbers in here: theirs may be any names, `position` and `found` among them.
select {version} as version, p.found, {outputs}
from unnest({key_arrays}) with ordinality as k ({key_names}, position)
left join lateral (
  select true as found, {columns} from {relation} v where {key_matches}
) p on true
order by k.position;

-- name: lookup_visible
-- The version that this statement's view shows.
(select s.version from prescore.visible s where s.model = {model})

-- name: lookup_published
-- Everything a reader needs to serve what is published: columns, clocks and promises are in the catalog.
select now() as now, m.model, m.description, m.held_at is not null as held, v.version, v.state, v.table_name, v.rows,
       v.key_columns, v.output_columns, v.data_as_of, v.published_at, v.max_age_seconds, v.refuse_stale,
       v.cache_seconds, v.in_memory
from prescore.models m
join prescore.visible s on s.model = m.model
join prescore.versions v on v.model = m.model and v.version = s.version
where %(model)s::text is null or m.model = %(model)s
order by m.model;

-- name: lookup_version
-- The same of any version of a model that may be asked for by its number.
select now() as now, m.model, m.description, m.held_at is not null as held, v.version, v.state, v.table_name, v.rows,
       v.key_columns, v.output_columns, v.data_as_of, v.published_at, v.max_age_seconds, v.refuse_stale,
       v.cache_seconds, v.in_memory
from prescore.models m
join prescore.versions v on v.model = m.model
where m.model = %(model)s and v.version = %(version)s
  and v.state in ('published', 'superseded', 'checked') and v.trial_rows is null;

-- name: lookup_versions
-- The versions of a model that may be asked for by number, newest first.
select v.version, v.state, v.data_as_of, v.published_at, v.rows
from prescore.versions v
where v.model = %(model)s and v.state in ('published', 'superseded', 'checked') and v.trial_rows is null
order by v.version desc;

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

-- name: lookup_copy
-- A whole version, for a server that holds it in memory.
copy (select {columns} from prescore_versions.{table}) to stdout (format csv);
