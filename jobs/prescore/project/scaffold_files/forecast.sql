-- The domain of {name}: one row for each prediction. The SQL is DuckDB's; paths are relative to the project.
select
  product_id,
  shop_id::integer as shop_id,
  week::date as week,
  price::real as price,
  units_last_week::real as units_last_week
from read_parquet('data/{name}.parquet')
where week <= $as_of
qualify row_number() over (partition by product_id, shop_id order by week desc) = 1
