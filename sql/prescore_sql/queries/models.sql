-- name: models_register
-- Add the model, or update its description. A model that was removed continues its version numbers.
insert into prescore.models (model, description, last_version)
select %(model)s, %(description)s, coalesce(max((e.detail ->> 'last_version')::integer), 0)
from prescore.events e where e.model = %(model)s and e.event = 'removed'
on conflict (model) do update set description = excluded.description
  where models.description is distinct from excluded.description;

-- name: models_get
-- A model's pointer and hold.
select model, description, published_version, parent_name, reads_deltas, canary_version, canary_share, last_version, held_at, held_by, hold_reason
from prescore.models where model = %(model)s;

-- name: models_names
-- All models.
select model from prescore.models order by model;

-- name: models_lock
-- The same, locked: everything that publishes, holds or rolls back a model waits here for its turn.
select model, description, published_version, parent_name, reads_deltas, canary_version, canary_share, last_version, held_at, held_by, hold_reason
from prescore.models where model = %(model)s for no key update;

-- name: models_visible
-- The version that a transaction sees that begins now.
select version from prescore.visible where model = %(model)s;

-- name: models_point
-- Publish a version: readers follow this pointer. A canary ends when it is published, or with `ends_canary`.
update prescore.models
set published_version = %(version)s,
    canary_version = case when not %(ends_canary)s and canary_version <> %(version)s then canary_version end,
    canary_share = case when not %(ends_canary)s and canary_version <> %(version)s then canary_share end
where model = %(model)s;

-- name: models_set_canary
-- Set the canary and its share of the keys, or end it.
update prescore.models set canary_version = %(version)s, canary_share = %(share)s where model = %(model)s;

-- name: models_record_publication
-- Record a publication, which lets transactions that began earlier keep seeing the previous version. Versions that are
-- published together become visible to the same transactions: those that began after the last of them was attached.
insert into prescore.publications (model, version, visible_from)
select %(model)s, %(version)s, max(v.attached_at) from prescore.versions v
where (v.model, v.version) in (select * from unnest(%(models)s::text[], %(versions)s::integer[]));

-- name: models_set_parent
-- Record the partitioned table that the model's view reads from now on.
update prescore.models set parent_name = nullif(%(parent)s, model) where model = %(model)s;

-- name: models_set_reads_deltas
-- Record that the model's view can show deltas.
update prescore.models set reads_deltas = true where model = %(model)s;

-- name: models_hold
-- Put the model on hold: nothing is published until it is released.
update prescore.models set held_at = now(), held_by = %(actor)s, hold_reason = %(reason)s where model = %(model)s;

-- name: models_release
-- Release the model: publishing is allowed again.
update prescore.models set held_at = null, held_by = null, hold_reason = null where model = %(model)s;

-- name: models_notify
-- Notify listening readers. Others poll.
select pg_notify('prescore', %(model)s);
