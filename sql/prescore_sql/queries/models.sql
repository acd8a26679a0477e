-- name: models_register
-- Make the model known, or bring its description up to date.
insert into prescore.models (model, description) values (%(model)s, %(description)s)
on conflict (model) do update set description = excluded.description
  where models.description is distinct from excluded.description;

-- name: models_get
-- One model's pointer and hold.
select model, description, published_version, parent_name, last_version, held_at, held_by, hold_reason
from prescore.models where model = %(model)s;

-- name: models_lock
-- The same, locked: whoever publishes, holds or rolls back goes through here, one after the other.
select model, description, published_version, parent_name, last_version, held_at, held_by, hold_reason
from prescore.models where model = %(model)s for no key update;

-- name: models_visible
-- Which version a transaction that begins now sees.
select version from prescore.visible where model = %(model)s;

-- name: models_point
-- The publication itself: readers follow this pointer.
update prescore.models set published_version = %(version)s where model = %(model)s;

-- name: models_record_publication
-- The pointer's history, by which a transaction that began earlier goes on with what it saw.
-- Those that are published together are shown to the same transactions: all of those that began after the last was attached.
insert into prescore.publications (model, version, visible_from)
select %(model)s, %(version)s, max(v.attached_at) from prescore.versions v
where (v.model, v.version) in (select * from unnest(%(models)s::text[], %(versions)s::integer[]));

-- name: models_set_parent
-- The view reads another parent from now on.
update prescore.models set parent_name = nullif(%(parent)s, model) where model = %(model)s;

-- name: models_hold
-- From now on nothing is published.
update prescore.models set held_at = now(), held_by = %(actor)s, hold_reason = %(reason)s where model = %(model)s;

-- name: models_release
-- Publishing is allowed again.
update prescore.models set held_at = null, held_by = null, hold_reason = null where model = %(model)s;

-- name: models_notify
-- Tell listening readers at once; those that do not listen poll.
select pg_notify('prescore', %(model)s);
