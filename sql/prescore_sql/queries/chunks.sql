-- name: chunks_finish
-- Record a finished chunk in the ledger, in the transaction that copied its predictions.
insert into prescore.chunks (model, version, chunk, rows, rejected, seconds)
values (%(model)s, %(version)s, %(chunk)s, %(rows)s, %(rejected)s, %(seconds)s);

-- name: chunks_finished
-- The chunks that need no more scoring.
select chunk from prescore.chunks where model = %(model)s and version = %(version)s order by chunk;

-- name: chunks_total
-- The number of finished chunks.
select count(*) as chunks
from prescore.chunks where model = %(model)s and version = %(version)s;

-- name: chunks_commit_soon
-- Commit without waiting for the log. A chunk that is lost in a crash of the server loses its ledger row as well, so it
-- is scored again. Publishing waits for the log.
set local synchronous_commit = off;

-- name: chunks_rejected
-- The number of rows that were rejected while they were scored.
select coalesce(sum(rejected), 0)::bigint as rejected
from prescore.chunks where model = %(model)s and version = %(version)s;
