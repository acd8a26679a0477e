-- name: views_create
-- The stable name. The sub-selects run once a statement; unread partitions are pruned when it starts.
create or replace view predictions.{model} as
select {keys},
       p.version,
       (select f.data_as_of from predictions.freshness f where f.model = {name}) as data_as_of,
       (select f.published_at from predictions.freshness f where f.model = {name}) as published_at,
       {outputs}
from prescore_versions.{parent} p
where p.version = (select case s.parent_name when {parent_name} then s.version else prescore.began_before(s.model) end
                   from prescore.visible s where s.model = {name});

-- name: views_drop
-- The view over another parent takes its place, in the same transaction.
drop view if exists predictions.{model};

-- name: views_readers
-- Who was granted the view, but for its owner: null stands for everybody.
select r.rolname as role, bool_or(a.is_grantable) as may_grant
from pg_class c cross join lateral aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
where c.oid = to_regclass(%(view)s) and a.privilege_type = 'SELECT' and a.grantee <> c.relowner
group by r.rolname order by r.rolname;

-- name: views_grant_again
-- What a reader had been granted on the view that this one takes the place of.
grant select on predictions.{model} to {role}{may_grant};

-- name: views_revoke
-- What the role was not granted on the view that this one takes the place of.
revoke all on predictions.{model} from {role};

-- name: views_lock
-- Readers take the view first, then what is below it; whoever changes both in another order meets them in a deadlock.
-- LOCK TABLE would lock what is below as well; this changes nothing and locks the view alone.
alter view if exists predictions.{model} reset (security_barrier);

-- name: views_comment
-- What the view is, for people who meet it in a BI tool.
comment on view predictions.{model} is {comment};

-- name: views_comment_column
-- What a column is.
comment on column predictions.{model}.{column} is {comment};

-- name: views_missing_roles
-- Which of these roles the server does not have.
select role from unnest(%(roles)s::text[]) role where not exists (select from pg_roles where rolname = role);

-- name: views_granted
-- Whether a role can read the view already; granting again would only get in another publication's way.
select has_schema_privilege(%(role)s, 'predictions', 'usage')
   and has_table_privilege(%(role)s, 'predictions.freshness', 'select')
   and has_table_privilege(%(role)s, %(view)s, 'select') as granted;

-- name: views_grant_lock
-- One grant at a time: Postgres does not let two transactions change the rights on one schema.
select pg_advisory_xact_lock(7737265);

-- name: views_schema_grant
-- Readers need the schema as well as the view.
grant usage on schema predictions to {role};

-- name: views_grant
-- Grants are on the view, which stays through every publication.
grant select on predictions.{model}, predictions.freshness to {role};
