-- name: status_freshness
-- How old each published version is, against what its owner promised.
select * from predictions.freshness order by model;

-- name: catalog_name
-- What this catalog's files in a store are called by; a copy of it in another database has other files.
select left(md5(c.id::text || d.oid::text), 8) as name
from prescore.catalog c, pg_database d where d.datname = current_database();

-- name: now
-- The database's clock.
select now() as now;

-- name: status_publications
-- When each model was last published, and first run: a roll-back is no publication.
select m.model, m.held_at is not null as held,
       (select max(e.at) from prescore.events e where e.model = m.model and e.event = 'published') as published_at,
       (select min(v.started_at) from prescore.versions v where v.model = m.model) as first_run_at
from prescore.models m
order by m.model;

-- name: status_models
-- Every model that was ever run: what is served and how old it is, and what became of its newest version.
select m.model, f.version, f.data_as_of, f.published_at, f.age_seconds, f.max_age_seconds, f.stale,
       m.held_at is not null as held, m.hold_reason,
       v.version as newest_version, v.state as newest_state, v.started_at as newest_started_at
from prescore.models m
left join predictions.freshness f on f.model = m.model
left join prescore.versions v on v.model = m.model and v.version = m.last_version
order by m.model;
