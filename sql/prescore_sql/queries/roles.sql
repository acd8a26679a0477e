-- name: roles_grant_writer
-- What jobs need: move the catalog on, add to its history, make tables and views of their own. A writer lets the roles
-- that specs name read, hence the grant options. It makes API keys and revokes them, and changes nothing else of them.
grant usage on schema prescore to {role};
grant usage, create on schema prescore_versions to {role};
grant create on schema predictions to {role};
grant usage on schema predictions to {role} with grant option;
grant select on predictions.freshness to {role} with grant option;
grant select on prescore.migrations, prescore.catalog, prescore.visible to {role};
grant select, insert on prescore.chunks, prescore.events, prescore.publications to {role};
grant select, insert, update on prescore.models, prescore.versions, prescore.leases to {role};
grant select, insert, delete on prescore.rejects to {role};
grant select, insert, update (revoked_at, revoked_by) on prescore.api_keys to {role};
grant usage on sequence prescore.lease_token to {role};

-- name: roles_grant_reader
-- What the lookup API needs, and the commands that only show.
grant usage on schema prescore, predictions, prescore_versions to {role};
grant select on prescore.migrations, prescore.models, prescore.versions, prescore.visible, prescore.events,
  prescore.api_keys to {role};
grant select on all tables in schema predictions to {role};

-- name: roles_open_views
-- The views that a writer makes from now on are open to a reader.
alter default privileges for role {writer} in schema predictions grant select on tables to {reader};

-- name: roles_lock
-- While rights are given to all readers, no version changes whether it is open to them.
select pg_advisory_xact_lock(7737267);

-- name: roles_lock_version
-- Versions of several models are opened at once, but not while rights are given to all readers.
select pg_advisory_xact_lock_shared(7737267);

-- name: roles_version_tables
-- The tables of the versions that readers may read: those that have passed their checks.
select v.table_name from prescore.versions v
where v.state in ('checked', 'published', 'superseded')
  and to_regclass('prescore_versions.' || quote_ident(v.table_name)) is not null
order by v.model, v.version;

-- name: roles_open_version
-- A version's own table is open to readers: by its number over HTTP, and its statistics to the status page.
-- Publishing and retiring change the table's row in pg_class, too, which Postgres lets only one do: hence the lock.
lock table prescore_versions.{table} in access share mode;
grant select on prescore_versions.{table} to {readers};

-- name: roles_close_version
-- It has passed its checks once, and has not passed those that it has now.
lock table prescore_versions.{table} in access share mode;
revoke select on prescore_versions.{table} from {readers};

-- name: roles_granted
-- Who has been granted what: a writer may take a lease; to a reader the views to come are open.
select r.rolname as role, g.rights
from (
  select a.grantee, 'writer' as rights
  from pg_class c cross join lateral aclexplode(c.relacl) a
  where c.oid = 'prescore.leases'::regclass and a.privilege_type = 'INSERT' and a.grantee <> c.relowner
  union
  select a.grantee, 'reader'
  from pg_default_acl d cross join lateral aclexplode(d.defaclacl) a
  where d.defaclnamespace = 'predictions'::regnamespace and d.defaclobjtype = 'r' and a.privilege_type = 'SELECT'
) g
join pg_roles r on r.oid = g.grantee
order by r.rolname;

-- name: roles_owner
-- Who owns the catalog, and whether this role may act for it.
select current_user as role, pg_get_userbyid(nspowner) as owner, pg_has_role(nspowner, 'usage') as mine
from pg_namespace where nspname = 'prescore';

-- name: roles_not_inherited
-- Which of these roles this one cannot act for.
select role from unnest(%(roles)s::text[]) role where not pg_has_role(role, 'usage');

-- name: roles_is_writer
-- Whether this role has a writer's rights.
select current_user as role, has_table_privilege('prescore.leases', 'insert') as writes;

-- name: roles_other_owner
-- A role that owns tables or the view of a model, and for which this one cannot act.
select current_user as role, pg_get_userbyid(c.relowner) as owner
from pg_class c
where not pg_has_role(c.relowner, 'usage')
  and (c.oid = to_regclass(format('predictions.%%I', %(model)s::text))
       or c.oid = to_regclass(format('prescore_versions.%%I', %(model)s::text))
       or c.oid in (select to_regclass(format('prescore_versions.%%I', v.table_name))
                    from prescore.versions v where v.model = %(model)s))
limit 1;
