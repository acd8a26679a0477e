-- name: checks_measure
-- The number of rows, of those whose prediction is null, NaN or infinite, and the lengths of arrays, in one pass.
select count(*) as rows, count(*) filter (where {not_finite}) as not_finite, {lengths} as lengths
from {rows};

-- name: checks_own_rows
-- The rows that differ from the base, in the table of a delta.
(select * from prescore_versions.{table} where version = {version}) rows;

-- name: checks_one_row
-- Any row of a table.
(select * from prescore_versions.{table} limit 1) rows;

-- name: checks_length
-- The smallest and the largest number of elements in an array column; NULL without rows.
array[min(cardinality({column}::{type})), max(cardinality({column}::{type}))];

-- name: checks_search_path
-- Let a session that runs checks find tables of versions by their plain names, and types where the role finds them.
select set_config('search_path', 'prescore_versions, ' || current_setting('search_path'), false);
