-- name: api_keys_create
-- A new API key; no row when one that is not revoked has the name.
insert into prescore.api_keys (id, name, hash, models, created_by, expires_at)
values (%(id)s, %(called)s, %(hash)s, %(models)s::text[], %(actor)s, now() + %(expires)s::interval)
on conflict (name) where revoked_at is null do nothing
returning id;

-- name: api_keys_list
-- Every API key there ever was, newest first, without its hash.
select id, name, models, created_at, created_by, expires_at, revoked_at, revoked_by,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'valid' end as state
from prescore.api_keys order by created_at desc, id;

-- name: api_keys_revoke
-- Let it in no more; no row when it is not there, or was revoked before. No name can be taken for an id.
update prescore.api_keys set revoked_at = now(), revoked_by = %(actor)s
where (id = %(named)s or name = %(named)s) and revoked_at is null
returning id, name;

-- name: api_keys_valid
-- What a server tells callers by. Those that have expired are among them: it can then say so to whoever has their secret.
select id, name, hash, models, extract(epoch from expires_at)::double precision as expires_at
from prescore.api_keys where revoked_at is null;
