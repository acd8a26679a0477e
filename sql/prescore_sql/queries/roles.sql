-- name: roles_grant_writer
-- The rights that jobs need: update the catalog, add to its history, create tables and views. The grant options let a
-- writer grant access to the roles that specs name. A writer creates and revokes API keys, but cannot change them
-- otherwise.
grant usage on schema prescore to {role};
grant usage, create on schema prescore_versions to {role};
grant create on schema predictions to {role};
grant usage on schema predictions to {role} with grant option;
grant select on predictions.freshness to {role} with grant option;
grant select on prescore.migrations, prescore.catalog, prescore.visible, prescore.canaries to {role};
grant select, update on prescore.locks to {role};
grant select, insert, update on prescore.model_files to {role};
grant select, insert on prescore.chunks, prescore.events, prescore.publications to {role};
grant select, insert, update on prescore.models, prescore.versions, prescore.leases to {role};
grant select, insert, delete on prescore.rejects, prescore.profiles to {role};
grant select, insert, update (revoked_at, revoked_by) on prescore.api_keys to {role};
grant usage on sequence prescore.lease_token to {role};

-- name: roles_grant_reader
-- The rights that the lookup API and the reading commands need.
grant usage on schema prescore, predictions, prescore_versions to {role};
grant select on prescore.migrations, prescore.catalog, prescore.models, prescore.versions, prescore.visible,
  prescore.canaries, prescore.events, prescore.chunks, prescore.leases, prescore.api_keys to {role};
grant select on all tables in schema predictions to {role};

-- name: roles_open_views
-- Open the views that a writer will create to a reader.
alter default privileges for role {writer} in schema predictions grant select on tables to {reader};

-- name: roles_lock
-- Keep versions from being opened or closed to readers while rights are granted to all readers.
select from prescore.locks where name = 'grants' for update;

-- name: roles_lock_version
-- Wait while rights are granted to all readers. Versions of several models can be opened at the same time.
select from prescore.locks where name = 'grants' for share;

-- name: roles_version_tables
-- The tables and views of the versions that readers may read: those that passed their checks.
select r.name from prescore.versions v cross join lateral prescore.own_relations(v) r
where v.state in ('checked', 'published', 'superseded')
order by v.model, v.version, r.name;

-- name: roles_open_version
-- Open a version's own table to readers: for lookups of that version over HTTP, and for the status page's statistics.
-- Publishing and retiring also update the table's row in pg_class, and Postgres raises an error on concurrent updates
-- of it: hence the lock.
lock table prescore_versions.{table} in access share mode;
grant select on prescore_versions.{table} to {readers};

-- name: roles_close_version
-- Close a version's own table to readers: it passed its checks before, but fails them as they are now.
lock table prescore_versions.{table} in access share mode;
revoke select on prescore_versions.{table} from {readers};

-- name: roles_granted
-- Roles with rights: a writer may insert leases, a reader may select from views that will be created. The latter is
-- forgotten when the schema of the views is dropped, so a role that may read API keys and not create them counts, too.
select r.rolname as role, g.rights
from (
  select a.grantee, 'writer' as rights
  from pg_class c cross join lateral aclexplode(c.relacl) a
  where c.oid = 'prescore.leases'::regclass and a.privilege_type = 'INSERT' and a.grantee <> c.relowner
  union
  select a.grantee, 'reader'
  from pg_default_acl d cross join lateral aclexplode(d.defaclacl) a
  where d.defaclnamespace = 'predictions'::regnamespace and d.defaclobjtype = 'r' and a.privilege_type = 'SELECT'
  union
  select a.grantee, 'reader'
  from pg_class c cross join lateral aclexplode(c.relacl) a
  where c.oid = 'prescore.api_keys'::regclass and a.grantee <> c.relowner
  group by a.grantee
  having bool_or(a.privilege_type = 'SELECT') and not bool_or(a.privilege_type = 'INSERT')
) g
join pg_roles r on r.oid = g.grantee
order by r.rolname;

-- name: roles_owner
-- The catalog owner, and whether this role is it or is a member of it.
select current_user as role, pg_get_userbyid(nspowner) as owner, pg_has_role(nspowner, 'usage') as is_owner
from pg_namespace where nspname = 'prescore';

-- name: roles_not_inherited
-- Roles that this role is not a member of.
select role from unnest(%(roles)s::text[]) role where not pg_has_role(role, 'usage');

-- name: roles_is_writer
-- Return whether this role has a writer's rights.
select current_user as role, has_table_privilege('prescore.leases', 'insert') as is_writer;

-- name: roles_other_owner
-- The role that owns a model's tables or view, when this role is neither that role nor a member of it.
select current_user as role, pg_get_userbyid(c.relowner) as owner
from pg_class c
where not pg_has_role(c.relowner, 'usage')
  and (c.oid = to_regclass(format('predictions.%%I', %(model)s::text))
       or c.oid = to_regclass(format('prescore_versions.%%I', %(model)s::text))
       or c.oid in (select r.oid from prescore.versions v cross join lateral prescore.own_relations(v) r
                    where v.model = %(model)s))
limit 1;
