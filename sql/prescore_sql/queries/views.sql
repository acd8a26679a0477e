-- name: views_shown
-- The columns of the view, and of both parts of one with deltas.
{keys},
       {version} as version,
       {data_as_of} as data_as_of,
       (select f.published_at from {clocks} f where f.model = {name}) as published_at,
       {outputs};

-- name: views_data_as_of
-- The time of the inputs of all rows of the version that readers see.
(select f.data_as_of from {clocks} f where f.model = {name});

-- name: views_own_data_as_of
-- The same in a model that keeps rows whose keys have vanished: such a row has the time of its own inputs.
coalesce(p.{clock}, (select f.data_as_of from {clocks} f where f.model = {name}));

-- name: views_version
-- The version that readers see; a row of a base has another number.
(select s.version from {visible} s where s.model = {name});

-- name: views_create
-- Create the view under the model's stable name. The subqueries run once for each statement, and partitions of other
-- versions are pruned when it starts.
create or replace view predictions.{view} as
select {shown}
from prescore_versions.{parent} p
where p.version = (
  select case s.parent_name when {parent_name} then s.version else prescore.raise_columns_changed(s.model) end
  from {visible} s where s.model = {name}
);

-- name: views_create_with_deltas
-- The same for a model that has deltas, and for a canary: rows of the version, then those of its base whose keys the
-- version neither has nor hides. A full version has no base, and the second part then reads nothing.
create or replace view predictions.{view} as
select {shown}
from prescore_versions.{parent} p
where p.version = (
  select case s.parent_name when {parent_name} then s.rows_version else prescore.raise_columns_changed(s.model) end
  from {visible} s where s.model = {name}
)
union all
select {shown}
from prescore_versions.{parent} p
where p.version = (select s.base_version from {visible} s where s.model = {name})
  and not exists (
    select from prescore_versions.{parent} d
    where {same_key}
      and d.version in ((select s.rows_version from {visible} s where s.model = {name}),
                        (select -s.rows_version from {visible} s where s.model = {name}))
  );

-- name: views_missing
-- Published models whose view is gone, with the partitioned table that it reads and the role that owns that table.
select m.model, m.published_version as version, coalesce(m.parent_name, m.model) as parent,
       pg_get_userbyid(c.relowner)::text as owner
from prescore.models m
join pg_class c on c.oid = to_regclass(format('prescore_versions.%%I', coalesce(m.parent_name, m.model)))
where m.published_version is not null and to_regclass(format('predictions.%%I', m.model)) is null
order by m.model;

-- name: views_missing_canaries
-- The same for models with a canary, whose view is gone.
select m.model, m.canary_version as version, coalesce(m.parent_name, m.model) as parent,
       pg_get_userbyid(c.relowner)::text as owner
from prescore.models m
join pg_class c on c.oid = to_regclass(format('prescore_versions.%%I', coalesce(m.parent_name, m.model)))
where m.canary_version is not null and to_regclass(format('predictions.%%I', m.model || '_canary')) is null
order by m.model;

-- name: views_become_owner
-- Create the view as the role that creates it otherwise, with its default privileges.
set local role {owner};

-- name: views_drop
-- Drop the view, before one over another partitioned table replaces it in the same transaction.
drop view if exists predictions.{model};

-- name: views_readers
-- Roles that were granted the view, except for the view's owner; a null role means PUBLIC.
select r.rolname as role, bool_or(a.is_grantable) as may_grant
from pg_class c cross join lateral aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
where c.oid = to_regclass(%(view)s) and a.privilege_type = 'SELECT' and a.grantee <> c.relowner
group by r.rolname order by r.rolname;

-- name: views_grant_again
-- Grant what a reader had been granted on the view that this one replaces.
grant select on predictions.{model} to {role}{may_grant};

-- name: views_revoke
-- Revoke what the role had not been granted on the view that this one replaces.
revoke all on predictions.{model} from {role};

-- name: views_lock
-- Lock the view before the tables below it, which is the order in which readers lock them: the opposite order could end
-- in a deadlock. LOCK TABLE would lock the tables as well. This statement changes nothing and locks only the view.
alter view if exists predictions.{model} reset (security_barrier);

-- name: views_comment
-- Describe the view, for users who see it in a BI tool.
comment on view predictions.{model} is {comment};

-- name: views_comment_column
-- Describe a column of the view.
comment on column predictions.{model}.{column} is {comment};

-- name: views_missing_roles
-- Which of these roles do not exist on the server.
select role from unnest(%(roles)s::text[]) role where not exists (select from pg_roles where rolname = role);

-- name: views_granted
-- Return whether a role can read the view already. An unneeded grant would only make other publications wait.
select has_schema_privilege(%(role)s, 'predictions', 'usage')
   and has_table_privilege(%(role)s, 'predictions.freshness', 'select')
   and has_table_privilege(%(role)s, %(view)s, 'select') as granted;

-- name: views_grant_lock
-- Grant one at a time: Postgres raises an error when two transactions change the privileges of one schema.
select from prescore.locks where name = 'views' for update;

-- name: views_schema_grant
-- Grant the schema, which readers need in addition to the view.
grant usage on schema predictions to {role};

-- name: views_grant
-- Grant the view. Grants stay in place across publications.
grant select on predictions.{model}, predictions.freshness to {role};
