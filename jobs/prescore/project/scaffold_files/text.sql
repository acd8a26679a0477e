-- The domain of {name}: one row for each prediction. The SQL is DuckDB's; paths are relative to the project.
select
  customer_id,
  plan,
  coalesce(region, '') as region,
  spend::real as spend
from read_csv('data/{name}.csv')
