-- name: checks_not_finite
-- One row when any prediction is null, NaN or infinite; never the rows themselves, which may be millions.
select count(*) as rows from {{batch}} where {conditions} having count(*) > 0;

-- name: checks_count_not_finite
-- How many rows have such a prediction.
select count(*) as rows from prescore_versions.{table} where {conditions};
