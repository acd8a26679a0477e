-- The domain of {name}: one row for each prediction. The SQL is DuckDB's; paths are relative to the project.
select
  ticket_id,
  length::real as length,
  priority::real as priority
from read_parquet('data/{name}.parquet')
