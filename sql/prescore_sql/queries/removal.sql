-- name: removal_relations
-- Everything of a model in the database: its views, its partitioned tables, and the tables and views of its versions. The
-- model's view comes first, then other views, the newest first, as they may read older ones, then tables from the top
-- down: the order in which readers lock them.
select c.oid, n.nspname as schema, c.relname as name, c.relkind = 'v' as is_view, pg_table_size(c.oid) as bytes
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where (n.nspname = 'predictions' and c.relkind = 'v' and c.relname in (%(model)s::text, %(model)s::text || '_canary'))
   or (n.nspname = 'prescore_versions' and c.relkind = 'p' and c.relname ~ ('^' || %(model)s::text || '(_V[0-9]+)?$'))
   or (n.nspname = 'prescore_versions' and c.relkind in ('r', 'v')
       and c.relname in (select unnest(array[v.table_name, v.rows_table]) from prescore.versions v
                         where v.model = %(model)s))
order by array_position(array['v', 'p', 'r']::"char"[], c.relkind), n.nspname,
         (select v.version from prescore.versions v where v.model = %(model)s and v.table_name = c.relname) desc nulls last,
         c.relname;

-- name: removal_dependents
-- Objects that depend on these relations and are none of them: other people's views, foreign keys and functions.
select distinct case when r.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
                     else pg_describe_object('pg_class'::regclass, r.ev_class, 0) end as dependent
from pg_depend d
left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
left join pg_constraint c on d.classid = 'pg_constraint'::regclass and c.oid = d.objid
where d.refclassid = 'pg_class'::regclass and d.deptype = 'n' and d.refobjid = any (%(relations)s::oid[])
  and coalesce(r.ev_class, c.conrelid, 0) <> all (%(relations)s::oid[])
order by dependent;

-- name: removal_api_keys
-- Valid API keys that name the model.
select name from prescore.api_keys
where %(model)s = any (models) and revoked_at is null and (expires_at is null or expires_at > now())
order by name;

-- name: removal_drop_view
-- Drop the model's view, or that of a version.
drop view {schema}.{view};

-- name: removal_delete
-- Delete the model from the catalog. Its history stays.
with rejects as (delete from prescore.rejects where model = %(model)s),
     profiles as (delete from prescore.profiles where model = %(model)s),
     chunks as (delete from prescore.chunks where model = %(model)s),
     publications as (delete from prescore.publications where model = %(model)s),
     versions as (delete from prescore.versions where model = %(model)s)
delete from prescore.models where model = %(model)s;
