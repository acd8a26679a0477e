-- name: versions_number
-- Give out the next version number.
update prescore.models set last_version = last_version + 1 where model = %(model)s returning last_version as version;

-- name: versions_create
-- A new version, building.
insert into prescore.versions (model, version, table_name, model_fingerprint, domain_fingerprint, spec_fingerprint,
                               key_columns, output_columns, max_age_seconds, refuse_stale, cache_seconds, in_memory,
                               trial_rows, as_of)
values (%(model)s, %(version)s, %(table_name)s, %(model_fingerprint)s, %(domain_fingerprint)s, %(spec_fingerprint)s,
        %(key_columns)s, %(output_columns)s, %(max_age_seconds)s, %(refuse_stale)s, %(cache_seconds)s, %(in_memory)s,
        %(trial_rows)s, %(as_of)s);

-- name: versions_get
-- One version.
select * from prescore.versions where model = %(model)s and version = %(version)s;

-- name: versions_list
-- All versions of a model, newest first.
select * from prescore.versions where model = %(model)s order by version desc;

-- name: versions_describe
-- What readers are told of it besides its predictions.
update prescore.versions
set key_columns = %(key_columns)s, output_columns = %(output_columns)s, max_age_seconds = %(max_age_seconds)s,
    refuse_stale = %(refuse_stale)s, cache_seconds = %(cache_seconds)s, in_memory = %(in_memory)s
where model = %(model)s and version = %(version)s;

-- name: versions_unfinished
-- The versions that a run left behind, newest first: not finished, or finished and not published though it meant to.
select v.* from prescore.versions v join prescore.models m on m.model = v.model
where v.model = %(model)s
  and (v.state in ('building', 'staged')
       or (v.state = 'checked' and v.to_publish and v.version > coalesce(m.published_version, 0)))
order by v.version desc;

-- name: versions_set_to_publish
-- Whether a run means to publish it.
update prescore.versions set to_publish = %(publishing)s where model = %(model)s and version = %(version)s;

-- name: versions_checks_have_run
-- Whether the same checks have run before on a table of the same columns, whatever they said.
select exists (select from prescore.versions
               where model = %(model)s and spec_fingerprint = %(spec_fingerprint)s
                 and checks_fingerprint = %(checks_fingerprint)s) as have_run;

-- name: versions_freeze
-- The snapshot is complete: from here on the version's inputs are fixed.
update prescore.versions
set snapshot_location = %(location)s, snapshot_fingerprint = %(fingerprint)s, snapshot_rows = %(rows)s,
    snapshot_chunks = %(chunks)s, rejected = %(rejected)s, data_as_of = coalesce(%(data_as_of)s, as_of, started_at)
where model = %(model)s and version = %(version)s and state = 'building';

-- name: versions_stage
-- Every chunk is in and the table is finished: it never changes again.
update prescore.versions v
set state = 'staged', staged_at = now(), rows = c.rows, rejected = v.rejected + c.rejected
from (select coalesce(sum(rows), 0) as rows, coalesce(sum(rejected), 0) as rejected
      from prescore.chunks where model = %(model)s and version = %(version)s) c
where v.model = %(model)s and v.version = %(version)s and v.state = 'building';

-- name: versions_check
-- The checks have spoken: checked, or refused and kept for inspection.
update prescore.versions
set state = %(state)s, checked_at = now(), checks = %(checks)s, checks_fingerprint = %(checks_fingerprint)s
where model = %(model)s and version = %(version)s and state in ('staged', 'checked');

-- name: versions_supersede
-- Take the published version from its place; a roll-back also marks it as withdrawn.
update prescore.versions
set state = 'superseded', superseded_at = clock_timestamp(), withdrawn_at = case when %(withdraw)s then now() else withdrawn_at end
where model = %(model)s and state = 'published';

-- name: versions_publish
-- Put a version in the published place.
update prescore.versions
set state = 'published', to_publish = false, published_at = now(), superseded_at = null, withdrawn_at = null
where model = %(model)s and version = %(version)s and state in ('checked', 'superseded') and trial_rows is null;

-- name: versions_waiting
-- The newest version that passed its checks and is newer than the published one, in its inputs too.
select v.version from prescore.versions v join prescore.models m on m.model = v.model
left join prescore.versions p on p.model = m.model and p.version = m.published_version
where v.model = %(model)s and v.state = 'checked' and v.trial_rows is null
  and v.version > coalesce(p.version, 0) and v.data_as_of >= coalesce(p.data_as_of, '-infinity')
  and coalesce(v.as_of >= coalesce(p.as_of, p.started_at), true)
order by v.version desc limit 1;

-- name: versions_before
-- Where a roll-back goes: the newest earlier version that was good when it was replaced and is still retained.
select * from prescore.versions
where model = %(model)s and version < %(version)s and state = 'superseded' and withdrawn_at is null
order by version desc limit 1;

-- name: versions_time
-- How long a step took, all its attempts and tasks together.
update prescore.versions
set seconds = seconds || jsonb_build_object(
  %(step)s::text, round((coalesce((seconds ->> %(step)s::text)::numeric, 0) + %(seconds)s::numeric), 3))
where model = %(model)s and version = %(version)s;

-- name: versions_fail
-- The run could not finish; the table is dropped with it.
update prescore.versions
set state = 'failed', error = %(error)s, checks = %(checks)s,
    rejected = greatest(rejected, (select count(*) from prescore.rejects
                                   where model = %(model)s and version = %(version)s))
where model = %(model)s and version = %(version)s and state in ('building', 'staged');

-- name: versions_attached
-- Since when the versions' tables are partitions that readers can reach. A publisher that comes late changes nothing:
-- transactions that began in between see the version already.
update prescore.versions set attached_at = statement_timestamp()
where (model, version) in (select * from unnest(%(models)s::text[], %(versions)s::integer[])) and attached_at is null;

-- name: versions_detached
-- The version's table is no partition any more.
update prescore.versions set attached_at = null where model = %(model)s and version = %(version)s;

-- name: versions_pin
-- Keep it, or leave it to retention again.
update prescore.versions set pinned_at = case when %(pinned)s then now() end
where model = %(model)s and version = %(version)s and state in ('checked', 'refused', 'published', 'superseded')
  and (pinned_at is null) = %(pinned)s;

-- name: versions_retire
-- Nobody may publish it from now on; its table goes as soon as nobody reads it, the row stays as history.
update prescore.versions set state = 'retired', retired_at = clock_timestamp()
where model = %(model)s and version = %(version)s and state in ('superseded', 'refused', 'checked')
  and pinned_at is null;

-- name: versions_leftover
-- Retired and failed versions whose table is still there: somebody was reading it, or a process was interrupted.
select * from prescore.versions
where model = %(model)s and state in ('retired', 'failed')
  and to_regclass(format('prescore_versions.%%I', table_name)) is not null
order by version;

-- name: versions_lock_model_file
-- Whoever keeps or removes a model file goes through here, one after the other.
select pg_advisory_xact_lock(7737266, hashtext(%(model_fingerprint)s));

-- name: versions_of_model_file
-- How many retained versions still need a model file.
select count(*) as versions from prescore.versions
where model_fingerprint = %(model_fingerprint)s and state not in ('retired', 'failed');
