-- name: rejects_copy
-- Copy rejects in.
copy prescore.rejects (model, version, chunk, key, column_name, reason) from stdin;

-- name: rejects_examples
-- One reject for each of the three columns that most rejects are about.
select column_name, (min(array[key::text, reason]))[1]::jsonb as key, (min(array[key::text, reason]))[2] as reason
from prescore.rejects
where model = %(model)s and version = %(version)s
group by column_name order by count(*) desc, column_name limit 3;

-- name: rejects_scored
-- The keys of the rows that a version rejected while it scored them.
select key from prescore.rejects where model = %(model)s and version = %(version)s and chunk is not null;

-- name: rejects_keys
-- The keys of all rows that a version rejected.
select key from prescore.rejects where model = %(model)s and version = %(version)s;

-- name: rejects_complete
-- Return whether all rejects that were counted are stored: those of the domain and, until the version is staged, those
-- of each chunk.
select (select count(*) from prescore.rejects r where r.model = v.model and r.version = v.version)
       >= coalesce(v.rejected, 0) + case when v.state = 'building' then coalesce(
            (select sum(c.rejected) from prescore.chunks c where c.model = v.model and c.version = v.version), 0)
          else 0 end as complete
from prescore.versions v where v.model = %(model)s and v.version = %(version)s;

-- name: rejects_trim
-- Delete all but a number of a version's rejects.
delete from prescore.rejects where model = %(model)s and version = %(version)s and ctid not in
  (select r.ctid from prescore.rejects r where r.model = %(model)s and r.version = %(version)s limit %(enough)s);

-- name: rejects_delete
-- Delete a version's rejects.
delete from prescore.rejects where model = %(model)s and version = %(version)s;

-- name: rejects_sweep
-- Delete the rejects of retired versions, and of versions that failed some time ago.
delete from prescore.rejects r using prescore.versions v
where r.model = %(model)s and v.model = r.model and v.version = r.version
  and (v.state = 'retired' or (v.state = 'failed' and v.started_at < now() - %(seconds)s * interval '1 second'));
