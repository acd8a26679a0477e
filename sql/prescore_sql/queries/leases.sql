-- name: leases_before
-- The current lease, and whether it is free: it has expired, the session of its watched holder has ended, or a named
-- holder acquires its own lease again.
select l.token, l.holder, l.expires_at::text,
       to_char(l.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') as until,
       l.expires_at < now()
       or (%(back)s and not l.watched and l.holder = %(holder)s)
       or (l.watched and pg_try_advisory_xact_lock_shared(7737264, (l.token %% 2147483647)::integer)) as free
from prescore.leases l where l.model = %(model)s;

-- name: leases_end_sessions
-- End the sessions that the previous holder left open: a suspended process would keep its locks on its table and on the
-- lease's row forever. Only sessions that Postgres lets this role end: its own, or with pg_signal_backend those of all
-- roles but superusers.
select pg_terminate_backend(pid, 5000)
from pg_stat_activity
where application_name = %(connections)s and datname = current_database() and pid <> pg_backend_pid()
  and (pg_has_role(usesysid, 'usage')
       or (pg_has_role('pg_signal_backend', 'usage')
           and exists (select from pg_roles r where r.oid = usesysid and not r.rolsuper)));

-- name: leases_take
-- Take the lease, unless another run took it or its holder renewed it in the meantime.
insert into prescore.leases as l (model, token, holder, watched, expires_at)
values (%(model)s, nextval('prescore.lease_token'), %(holder)s, %(watched)s, now() + %(seconds)s * interval '1 second')
on conflict (model) do update
  set token = excluded.token, holder = excluded.holder, watched = excluded.watched, expires_at = excluded.expires_at
  where l.token = %(before)s and l.expires_at = %(expired)s::timestamptz
returning token;

-- name: leases_name_session
-- Name the session after the lease, so that a later holder can find the sessions of this one.
select set_config('application_name', %(connections)s, false);

-- name: leases_watch
-- Hold an advisory lock for as long as the holder's session lives. If another lock has the same key already, only the
-- lease's expiry protects it.
update prescore.leases set watched = pg_try_advisory_lock(7737264, (%(token)s %% 2147483647)::integer)
where model = %(model)s and token = %(token)s;

-- name: leases_renew
-- Extend the lease.
update prescore.leases set expires_at = now() + %(seconds)s * interval '1 second'
where model = %(model)s and token = %(token)s returning token;

-- name: leases_check
-- Run at the end of every writing transaction: no other run can take the lease between this and the commit.
select token from prescore.leases where model = %(model)s and token = %(token)s for share;

-- name: leases_release
-- Release the lease. Has no effect unless the token is the current one.
update prescore.leases set expires_at = '-infinity' where model = %(model)s and token = %(token)s;

-- name: leases_release_by_holder
-- Release the model's lease if a named holder has it, whatever its token.
update prescore.leases set expires_at = '-infinity' where model = %(model)s and holder = %(holder)s;

-- name: leases_renew_by_holder
-- Extend the model's lease if a named holder has it. A lease that was released stays so.
update prescore.leases set expires_at = now() + %(seconds)s * interval '1 second'
where model = %(model)s and holder = %(holder)s and expires_at >= now();

-- name: leases_release_by_hand
-- Release the lease of any holder, unless it is free. A holder that still works renews it, unless another run is faster.
update prescore.leases l set expires_at = '-infinity'
where l.model = %(model)s and l.expires_at >= now() returning l.holder;
