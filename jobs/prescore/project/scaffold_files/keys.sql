-- The domain of {name}: one row for each prediction. The SQL is DuckDB's; paths are relative to the project.
select
  product_id,
  shop_id::integer as shop_id,
  day::date as day,
  price::real as price,
  stock::real as stock
from read_parquet('data/{name}.parquet')
