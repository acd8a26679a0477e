-- The predictions of {name}: one row for each key. The SQL is DuckDB's; paths are relative to the project.
select
  customer_id,
  score::real as score,
  made_at
from read_parquet('data/{name}.parquet')
