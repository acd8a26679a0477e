-- name: leases_before
-- The lease as it stands; free when it is expired, its watched holder's session is gone, or a named holder comes back
-- for its own.
select l.token, l.holder, l.expires_at::text,
       l.expires_at < now()
       or (%(back)s and not l.watched and l.holder = %(holder)s)
       or (l.watched and pg_try_advisory_xact_lock_shared(7737264, (l.token %% 2147483647)::integer)) as free
from prescore.leases l where l.model = %(model)s;

-- name: leases_end_sessions
-- End what the holder before left open: a stopped process would keep its table, and this lease's row, locked for ever.
-- Only what Postgres lets this role end: its own sessions, or with pg_signal_backend those of all but superusers.
select pg_terminate_backend(pid, 5000)
from pg_stat_activity
where application_name = %(connections)s and datname = current_database() and pid <> pg_backend_pid()
  and (pg_has_role(usesysid, 'usage')
       or (pg_has_role('pg_signal_backend', 'usage')
           and exists (select from pg_roles r where r.oid = usesysid and not r.rolsuper)));

-- name: leases_take
-- Take the lease, if nobody else did and its holder did not renew it meanwhile.
insert into prescore.leases as l (model, token, holder, watched, expires_at)
values (%(model)s, nextval('prescore.lease_token'), %(holder)s, %(watched)s, now() + %(seconds)s * interval '1 second')
on conflict (model) do update
  set token = excluded.token, holder = excluded.holder, watched = excluded.watched, expires_at = excluded.expires_at
  where l.token = %(before)s and l.expires_at = %(expired)s::timestamptz
returning token;

-- name: leases_name_session
-- So that a successor can tell which sessions are this lease's.
select set_config('application_name', %(connections)s, false);

-- name: leases_watch
-- Held for as long as the holder's session lives. Whoever else holds it is none of ours: the clock has to do then.
update prescore.leases set watched = pg_try_advisory_lock(7737264, (%(token)s %% 2147483647)::integer)
where model = %(model)s and token = %(token)s;

-- name: leases_renew
-- Keep it a while longer.
update prescore.leases set expires_at = now() + %(seconds)s * interval '1 second'
where model = %(model)s and token = %(token)s returning token;

-- name: leases_check
-- Asked at the end of every writing transaction: nobody can take over between this and the commit.
select token from prescore.leases where model = %(model)s and token = %(token)s for share;

-- name: leases_release
-- Give it back; only the holder can.
update prescore.leases set expires_at = '-infinity' where model = %(model)s and token = %(token)s;

-- name: leases_release_by_holder
-- Give it back under the holder's name, whichever token it has.
update prescore.leases set expires_at = '-infinity' where holder = %(holder)s;
