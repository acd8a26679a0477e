-- The domain of {name}: every row that gets a prediction, once. DuckDB SQL; paths are relative to the project.
-- Cast to what the model takes: prescore refuses to lose digits that nobody named.
select
  customer_id,
  visits::real as visits,
  spend::real as spend
from read_parquet('data/{name}.parquet')
