-- name: api_keys_create
-- Add an API key. Returns no row when a key that is not revoked already has the name.
insert into prescore.api_keys (id, name, hash, models, created_by, expires_at)
values (%(id)s, %(name)s, %(hash)s, %(models)s::text[], %(actor)s, now() + %(expires)s::interval)
on conflict (name) where revoked_at is null do nothing
returning id;

-- name: api_keys_list
-- All API keys, including expired and revoked ones, newest first, without their hashes.
select id, name, models, created_at, created_by, expires_at, revoked_at, revoked_by,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'valid' end as state
from prescore.api_keys order by created_at desc, id;

-- name: api_keys_revoke
-- Revoke an API key. Returns no row when there is none, or it was revoked before. A name cannot look like an id.
update prescore.api_keys set revoked_at = now(), revoked_by = %(actor)s
where (id = %(name_or_id)s or name = %(name_or_id)s) and revoked_at is null
returning id, name;

-- name: api_keys_valid
-- The keys that a server authenticates with. Expired keys are included, so that the server can report the expiry to a
-- client that sends one.
select id, name, hash, models, extract(epoch from expires_at)::double precision as expires_at
from prescore.api_keys where revoked_at is null;
