-- name: versions_number
-- Return the next version number.
update prescore.models set last_version = last_version + 1 where model = %(model)s returning last_version as version;

-- name: versions_create
-- Add a version in state building.
insert into prescore.versions (model, version, table_name, rows_version, rows_table, content_version, changes,
                               model_fingerprint, domain_fingerprint, spec_fingerprint,
                               spec, runtime, chunk_rows, parameters, key_columns, output_columns, max_age_seconds, refuse_stale, cache_seconds, in_memory,
                               live, live_cache_seconds, tombstones,
                               trial_rows, as_of)
values (%(model)s, %(version)s, %(table_name)s, %(version)s, %(table_name)s, %(version)s, %(changes)s, %(model_fingerprint)s, %(domain_fingerprint)s, %(spec_fingerprint)s,
        %(spec)s, %(runtime)s, %(chunk_rows)s, %(parameters)s, %(key_columns)s, %(output_columns)s, %(max_age_seconds)s, %(refuse_stale)s, %(cache_seconds)s, %(in_memory)s,
        %(live)s, %(live_cache_seconds)s, %(tombstones)s, %(trial_rows)s, %(as_of)s);

-- name: versions_get
-- A version.
select * from prescore.versions where model = %(model)s and version = %(version)s;

-- name: versions_list
-- All versions of a model, newest first.
select * from prescore.versions where model = %(model)s order by version desc;

-- name: versions_describe
-- Update the description of a version that readers get with its predictions.
update prescore.versions
set key_columns = %(key_columns)s, output_columns = %(output_columns)s, max_age_seconds = %(max_age_seconds)s,
    refuse_stale = %(refuse_stale)s, cache_seconds = %(cache_seconds)s, in_memory = %(in_memory)s,
    live = %(live)s, live_cache_seconds = %(live_cache_seconds)s, tombstones = %(tombstones)s
where model = %(model)s and version = %(version)s;

-- name: versions_set_origin
-- Record what a version is made with: the exporter of its model, the release of prescore, the examples that it passed.
update prescore.versions
set producer = %(producer)s, prescore_version = %(prescore_version)s, examples_fingerprint = %(examples_fingerprint)s
where model = %(model)s and version = %(version)s;

-- name: versions_unfinished
-- Versions that a run left behind, newest first: unfinished ones, and finished ones that the run was going to publish.
select v.* from prescore.versions v join prescore.models m on m.model = v.model
where v.model = %(model)s
  and (v.state in ('building', 'staged')
       or (v.state = 'checked' and v.to_publish and v.version > coalesce(m.published_version, 0)))
order by v.version desc;

-- name: versions_set_to_publish
-- Set whether the run that makes the version will publish it.
update prescore.versions set to_publish = %(publishing)s where model = %(model)s and version = %(version)s;

-- name: versions_checks_have_run
-- Return whether the same checks have run before on a table with the same columns, whatever their results.
select exists (select from prescore.versions
               where model = %(model)s and spec_fingerprint = %(spec_fingerprint)s
                 and checks_fingerprint = %(checks_fingerprint)s) as have_run;

-- name: versions_freeze
-- Record the complete snapshot. From here on, the version's inputs are fixed.
update prescore.versions
set snapshot_location = %(location)s, snapshot_fingerprint = %(fingerprint)s, snapshot_rows = %(rows)s,
    snapshot_chunks = %(chunks)s, signature = %(signature)s, rejected = %(rejected)s,
    unchanged_value = %(unchanged_value)s, data_as_of = coalesce(%(data_as_of)s, as_of, started_at)
where model = %(model)s and version = %(version)s and state = 'building';

-- name: versions_stage
-- Mark the version as staged: every chunk is in, and the table never changes again.
update prescore.versions v
set state = 'staged', staged_at = now(), changes_location = null, rows = c.rows + c.carried + %(kept)s, kept = %(kept)s,
    updated = coalesce(pg_stat_get_tuples_updated(to_regclass(format('prescore_versions.%%I', v.rows_table))::oid), 0),
    rows_stored = coalesce(%(stored)s, c.rows + c.carried + %(kept)s),
    rejected = v.rejected + c.rejected
from (select coalesce(sum(c.rows), 0) as rows, coalesce(sum(c.rejected), 0) as rejected,
             (select coalesce((b.changes ->> 'carried')::bigint, 0) from prescore.versions b
              where b.model = %(model)s and b.version = %(version)s) as carried
      from prescore.chunks c where c.model = %(model)s and c.version = %(version)s) c
where v.model = %(model)s and v.version = %(version)s and v.state = 'building';

-- name: versions_check
-- Record the results of the checks. A version that failed them is refused, and kept for inspection. Readers have the
-- canary, so that it must not be refused.
update prescore.versions
set state = %(state)s, checked_at = now(), checks = %(checks)s, checks_fingerprint = %(checks_fingerprint)s,
    comparison = %(comparison)s, to_publish = to_publish and not %(withhold)s
where (select m.canary_version from prescore.models m where m.model = %(model)s) is distinct from %(version)s
  and model = %(model)s and version = %(version)s and state in ('staged', 'checked', 'refused');

-- name: versions_supersede
-- Replace the published version. A rollback also marks it as withdrawn.
update prescore.versions
set state = 'superseded', superseded_at = clock_timestamp(),
    withdrawn_at = case when %(withdraw)s then now() else withdrawn_at end
where model = %(model)s and state = 'published';

-- name: versions_publish
-- Mark a version as published.
update prescore.versions
set state = 'published', to_publish = false, published_at = now(), superseded_at = null, withdrawn_at = null
where model = %(model)s and version = %(version)s and state in ('checked', 'superseded') and trial_rows is null;

-- name: versions_waiting
-- The newest version that passed its checks and is newer than the published one, in number and in inputs.
select v.version from prescore.versions v join prescore.models m on m.model = v.model
left join prescore.versions p on p.model = m.model and p.version = m.published_version
where v.model = %(model)s and v.state = 'checked' and v.trial_rows is null
  and v.version > coalesce(p.version, 0) and v.data_as_of >= coalesce(p.data_as_of, '-infinity')
  and coalesce(v.as_of >= coalesce(p.as_of, p.started_at), true)
order by v.version desc limit 1;

-- name: versions_before
-- The version that a rollback returns to: the newest earlier one that was superseded, was never withdrawn and is
-- retained, whose table is as it was, and whose predictions are others.
select v.* from prescore.versions v
where v.model = %(model)s and v.version < %(version)s and v.state = 'superseded' and v.withdrawn_at is null
  and prescore.table_fault(v) is null
  and v.content_version <> (select p.content_version from prescore.versions p
                            where p.model = v.model and p.version = %(version)s)
order by v.version desc limit 1;

-- name: versions_table_fault
-- What happened by hand to a version's table, or null.
select prescore.table_fault(v) as fault from prescore.versions v
where v.model = %(model)s and v.version = %(version)s;

-- name: versions_edits
-- The tables with a version's rows, how many were edited by hand, and whether as many were inserted as it should have, by the
-- server's statistics: not after an insert by hand or an interrupted run, nor once a crash or a failover has lost them.
select t.name, t.rows, t.edited, pg_stat_get_tuples_inserted(t.oid) = t.rows as is_accounted
from prescore.versions v cross join lateral prescore.stored_tables(v) t
where v.model = %(model)s and v.version = %(version)s;

-- name: versions_time
-- Add to the time that a step took, over all its attempts and tasks.
update prescore.versions
set seconds = seconds || jsonb_build_object(
  %(step)s::text, round((coalesce((seconds ->> %(step)s::text)::numeric, 0) + %(seconds)s::numeric), 3))
where model = %(model)s and version = %(version)s;

-- name: versions_fail
-- Mark a version as failed. Its table is dropped as well.
update prescore.versions
set state = 'failed', error = %(error)s, checks = %(checks)s,
    rejected = greatest(rejected, (select count(*) from prescore.rejects
                                   where model = %(model)s and version = %(version)s))
where model = %(model)s and version = %(version)s and state in ('building', 'staged');

-- name: versions_attached
-- Record that the versions' tables are attached. A time that is already there stays: transactions that began since then
-- see the version.
update prescore.versions set attached_at = statement_timestamp()
where (model, version) in (select * from unnest(%(models)s::text[], %(versions)s::integer[])) and attached_at is null;

-- name: versions_detached
-- Record that the version's table is not attached any more.
update prescore.versions set attached_at = null where model = %(model)s and version = %(version)s;

-- name: versions_pin
-- Pin a version, or unpin it and leave it to retention again.
update prescore.versions set pinned_at = case when %(pinned)s then now() end
where model = %(model)s and version = %(version)s and state in ('checked', 'refused', 'published', 'superseded')
  and (pinned_at is null) = %(pinned)s;

-- name: versions_retire
-- Retire a version: it can no longer be published. Its table is dropped once no transaction reads it; the row remains.
update prescore.versions set state = 'retired', retired_at = clock_timestamp()
where model = %(model)s and version = %(version)s and state in ('superseded', 'refused', 'checked')
  and pinned_at is null;

-- name: versions_leftover
-- Retired and failed versions that still have a table, because it was being read or a process was interrupted.
select * from prescore.versions
where model = %(model)s and state in ('retired', 'failed')
  and exists (select from prescore.own_relations(versions))
order by version;

-- name: versions_lock_model_file
-- Keep or remove one copy of a model file at a time.
insert into prescore.model_files (fingerprint) values (%(model_fingerprint)s)
on conflict (fingerprint) do update set fingerprint = excluded.fingerprint;

-- name: versions_needed_model_files
-- The model files that retained versions need.
select distinct model_fingerprint as fingerprint from prescore.versions
where model_fingerprint is not null and state not in ('retired', 'failed');

-- name: versions_of_model_file
-- The number of retained versions that need a model file.
select count(*) as versions from prescore.versions
where model_fingerprint = %(model_fingerprint)s and state not in ('retired', 'failed');
