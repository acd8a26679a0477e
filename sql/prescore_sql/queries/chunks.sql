-- name: chunks_finish
-- The chunk's ledger row, in the transaction that copied its predictions.
insert into prescore.chunks (model, version, chunk, rows, rejected, seconds)
values (%(model)s, %(version)s, %(chunk)s, %(rows)s, %(rejected)s, %(seconds)s);

-- name: chunks_finished
-- Which chunks need no more scoring.
select chunk from prescore.chunks where model = %(model)s and version = %(version)s order by chunk;

-- name: chunks_total
-- How many there are.
select count(*) as chunks
from prescore.chunks where model = %(model)s and version = %(version)s;

-- name: chunks_commit_soon
-- A chunk that a crashed server forgets is scored again, its ledger row being gone too; publishing waits for the log.
set local synchronous_commit = off;
