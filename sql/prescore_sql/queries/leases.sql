-- name: leases_take
-- Take the lease if it is free, expired, its watched holder's session is gone, or a named holder comes back for its own.
insert into prescore.leases as l (model, token, holder, watched, expires_at)
values (%(model)s, nextval('prescore.lease_token'), %(holder)s, %(watched)s, now() + %(seconds)s * interval '1 second')
on conflict (model) do update
  set token = excluded.token, holder = excluded.holder, watched = excluded.watched, expires_at = excluded.expires_at
  where l.expires_at < now()
     or (%(back)s and not l.watched and l.holder = excluded.holder)
     or (l.watched and pg_try_advisory_xact_lock_shared(7737264, (l.token %% 2147483647)::integer))
returning token;

-- name: leases_watch
-- Held for as long as the holder's session lives.
select pg_advisory_lock(7737264, (%(token)s %% 2147483647)::integer);

-- name: leases_get
-- Who holds the lease now.
select token, holder, expires_at from prescore.leases where model = %(model)s and expires_at >= now();

-- name: leases_renew
-- Keep it a while longer.
update prescore.leases set expires_at = now() + %(seconds)s * interval '1 second'
where model = %(model)s and token = %(token)s returning token;

-- name: leases_check
-- Asked at the end of every writing transaction: nobody can take over between this and the commit.
select token from prescore.leases where model = %(model)s and token = %(token)s for share;

-- name: leases_drop
-- Give it back; only the holder can.
update prescore.leases set expires_at = '-infinity' where model = %(model)s and token = %(token)s;

-- name: leases_give_back
-- Give it back under the holder's name, whichever token it has.
update prescore.leases set expires_at = '-infinity' where holder = %(holder)s;
