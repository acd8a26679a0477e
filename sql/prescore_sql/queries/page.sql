-- name: page_models
-- All models by name, after those that need attention: stale, newest run refused or failed, on hold, unpublished.
select m.model,
       coalesce(f.stale, false) as stale,
       coalesce(v.state in ('refused', 'failed') and v.trial_rows is null, false) as failed,
       m.held_at is not null as held,
       f.version is null as unpublished
from prescore.models m
left join predictions.freshness f on f.model = m.model
left join prescore.versions v on v.model = m.model and v.version = m.last_version
order by stale desc, failed desc, held desc, unpublished desc, m.model;

-- name: page_cards
-- Everything that the status page shows of some models, in their order: the published version, its times and max age,
-- the hold, the version published before it, and the last runs. One statement, so that no publication happens in
-- between.
select now() as now, m.model, left(m.description, 500) as description, m.held_at, m.held_by,
       left(m.hold_reason, 500) as hold_reason, m.canary_version, m.canary_share,
       v.version, coalesce(v.base_table, v.rows_table) as table_name, v.started_at, v.rows, v.key_columns, v.output_columns, v.data_as_of, v.published_at,
       v.max_age_seconds, v.refuse_stale, v.model_fingerprint is not null and v.examples_fingerprint is null as unverified, f.age_seconds, coalesce(f.stale, false) as stale,
       b.version as before_version, coalesce(b.base_table, b.rows_table) as before_table, b.started_at as before_started_at,
       b.output_columns as before_columns,
       r.runs
from prescore.models m
left join predictions.freshness f on f.model = m.model
left join prescore.versions v on v.model = m.model and v.version = f.version
left join lateral (
  select b.version, b.base_table, b.rows_table, b.started_at, b.output_columns
  from prescore.versions b
  where b.model = m.model and b.state = 'superseded' and b.version <> v.version
  order by b.superseded_at desc, b.version desc
  limit 1
) b on true
left join lateral (
  select jsonb_agg(
           jsonb_build_object(
             'version', n.version, 'state', n.state, 'trial_rows', n.trial_rows, 'rows', n.rows,
             'rejected', n.rejected, 'error', left(n.error, 500),
             'started_at', n.started_at, 'staged_at', n.staged_at, 'published_at', n.published_at,
             'age_seconds', extract(epoch from now() - n.started_at),
             'seconds', (select sum(s.value::double precision) from jsonb_each_text(n.seconds) s),
             'checks', (select count(*) from jsonb_array_elements(n.checks)),
             'failed', (select count(*) from jsonb_array_elements(n.checks) c where c -> 'passed' = 'false'),
             'warned', (select count(*) from jsonb_array_elements(n.checks) c where c -> 'warning' = 'true'),
             'results', (select jsonb_agg(c.value order by c.ordinality)
                         from (select c.value, c.ordinality
                               from jsonb_array_elements(n.checks) with ordinality c
                               order by c.value -> 'passed' = 'true', c.value -> 'warning' is null, c.ordinality
                               limit %(checks)s) c))
           order by n.version desc) as runs
  from (select * from prescore.versions n where n.model = m.model order by n.version desc limit %(runs)s) n
) r on true
where m.model = any(%(models)s)
order by array_position(%(models)s::text[], m.model);

-- name: page_statistics
-- The distribution of the values of versions' columns, from the planner's statistics: a table is analyzed when it is
-- staged and never changes afterwards, so they stay valid. They come from a sample of the rows: the most common values
-- with their fractions of the rows, and bounds that divide the rest into equal parts. There are no rows for a table
-- that this role may not read. Those of a delta are its base's, which has most of its rows.
select s.tablename as table_name, s.attname as column_name,
       coalesce(s.most_common_vals::text::text[], '{{}}') as common,
       coalesce(s.most_common_freqs::double precision[], '{{}}') as shares,
       coalesce(s.histogram_bounds::text::text[], '{{}}') as bounds,
       s.null_frac::double precision as nulls
from pg_stats s
where s.schemaname = 'prescore_versions' and s.tablename = any(%(tables)s::name[])
  and s.attname = any(%(columns)s::name[]);
