-- name: views_create
-- The stable name. Both sub-selects run once a statement; unread partitions are pruned when it starts.
create or replace view predictions.{model} as
select {keys},
       p.version,
       (select v.data_as_of from prescore.versions v join prescore.models m on m.published_version = v.version
         where v.model = {name} and m.model = {name}) as data_as_of,
       (select v.published_at from prescore.versions v join prescore.models m on m.published_version = v.version
         where v.model = {name} and m.model = {name}) as published_at,
       {outputs}
from prescore_versions.{parent} p
where p.version = (select m.published_version from prescore.models m where m.model = {name});

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

-- name: views_schema_grant
-- Readers need the schema as well as the view.
grant usage on schema predictions to {role};

-- name: views_grant
-- Grants are on the view, which stays through every publication.
grant select on predictions.{model}, predictions.freshness to {role};
