-- name: checks_not_finite
-- One row when any prediction is null, NaN or infinite. It holds a count, since there may be millions of such rows.
select count(*) as rows from {{batch}} where {conditions} having count(*) > 0;

-- name: checks_count_not_finite
-- The number of rows whose prediction is null, NaN or infinite.
select count(*) as rows from prescore_versions.{table} where {conditions};

-- name: checks_lengths
-- The smallest and the largest number of elements in an array column.
select min(cardinality({column}::{type})) as shortest, max(cardinality({column}::{type})) as longest
from prescore_versions.{table};

-- name: checks_search_path
-- Let a session that runs checks find tables of versions by their plain names, and types where the role finds them.
select set_config('search_path', 'prescore_versions, ' || current_setting('search_path'), false);
