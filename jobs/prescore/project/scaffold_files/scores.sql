-- The domain of {name}: one row for each prediction. The SQL is DuckDB's; paths are relative to the project.
-- Numbers are cast to the model's type here, because prescore refuses a conversion that could lose digits.
select
  customer_id,
  visits::real as visits,
  spend::real as spend
from read_parquet('data/{name}.parquet')
