-- name: status_freshness
-- The age of each published version, and whether it exceeds the max age.
select * from predictions.freshness order by model;

-- name: catalog_name
-- The name of this catalog's folder in a store. It includes the server's own identifier and the database's OID, so a
-- copy of the catalog in another database, or on another server, has a folder of its own. A copy of the server's files
-- has the same identifier, as a standby has, which must find the files of the server that it replaces.
select left(md5(c.id::text || s.system_identifier::text || d.oid::text), 8) as name
from prescore.catalog c, pg_control_system() s, pg_database d where d.datname = current_database();

-- name: now
-- The time of the database's clock.
select now() as now;

-- name: status_publications
-- When each model was last published and first run. A rollback does not count as a publication.
select m.model, m.held_at is not null as held,
       (select max(e.at) from prescore.events e where e.model = m.model and e.event = 'published') as published_at,
       (select min(v.started_at) from prescore.versions v where v.model = m.model) as first_run_at
from prescore.models m
order by m.model;

-- name: status_models
-- Every model that has been run, or one of them: the served version with its age, the newest version that waits for
-- approval, and the state of the newest of all.
select m.model, f.version, f.data_as_of, f.published_at, f.age_seconds, f.max_age_seconds, f.stale,
       m.held_at is not null as held, m.hold_reason, m.canary_version, m.canary_share,
       w.version as waiting_version, coalesce(w.awaits, '[]') as awaits,
       v.version as newest_version, v.state as newest_state, v.started_at as newest_started_at,
       v.withdrawn_at is not null as newest_withdrawn, v.trial_rows as newest_trial_rows,
       case when p.version is not null then prescore.table_fault(p) end as table_fault
from prescore.models m
left join predictions.freshness f on f.model = m.model
left join prescore.versions p on p.model = m.model and p.version = f.version
left join prescore.versions v on v.model = m.model and v.version = m.last_version
left join lateral (
  select c.version, jsonb_path_query_array(c.checks, '$[*] ? (@.warning == true)') as awaits
  from prescore.versions c
  where c.model = m.model and c.state = 'checked' and c.trial_rows is null
    and c.version > coalesce(m.published_version, 0)
    and c.checks @? '$[*] ? (@.warning == true)'
  order by c.version desc limit 1
) w on true
where %(model)s::text is null or m.model = %(model)s
order by m.model;
