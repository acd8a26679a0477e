-- name: comparison_memory
-- Give the joins enough memory for a few million rows, unless the server gives more, until the transaction ends.
select set_config('work_mem', '64MB', true)
where pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('64MB');

-- name: comparison_rows
-- How many rows two versions have.
select (select count(*) from {a}) as a, (select count(*) from {b}) as b;

-- name: comparison_count
-- How many rows the table of a delta has.
select count(*) as rows from {relation};

-- name: comparison_rights
-- Whether this session may create temporary tables and keep profiles.
select has_database_privilege(current_database(), 'temporary')
       and (select bool_and(has_table_privilege('prescore.profiles', privilege))
            from unnest(array['select', 'insert', 'delete']) privilege)
       and not current_setting('transaction_read_only')::boolean as granted;

-- name: comparison_use_index
-- Look rows up by their keys if the table can be in memory. Postgres assumes that pages are on disk, and would read all of
-- them for a hundredth of the rows. Valid until the transaction ends.
select set_config(name, 'off', true) from pg_settings
where name in ('enable_hashjoin', 'enable_mergejoin')
  and pg_total_relation_size({base}::regclass) < pg_size_bytes(current_setting('effective_cache_size'));

-- name: comparison_use_any_join
-- Leave the kind of join to Postgres again.
select set_config(name, reset_val, true) from pg_settings where name in ('enable_hashjoin', 'enable_mergejoin');

-- name: comparison_affected
-- Copy rows into a temporary table.
create temporary table {table} on commit drop as {rows};

-- name: comparison_keys
-- The keys of a delta, with those that only hide a row of the base.
select {key} from {relation};

-- name: comparison_no_keys
-- No key.
select {key} from {relation} where false;

-- name: comparison_base_rows
-- The rows of a base that have one of these keys.
select {columns} from {base} join ({keys}) keys using ({key});

-- name: comparison_delta_rows
-- The rows of a version over a base: those of its delta, and those of the base whose keys the delta does not have.
select {columns} from {delta} where version = {version}
union all
select {columns} from {base} left join (select {key}, version from {delta}) delta using ({key})
 where delta.version is null;

-- name: comparison_labels
-- How many rows have each value of a column.
select {column} as value, count(*) as rows from {relation} group by {column};

-- name: comparison_finite
-- A number that can be averaged and squared; NULL for NaN, infinities and numbers near the limit of the type.
case when abs({value}::double precision) < 1e150 then {value}::double precision end;

-- name: comparison_number
-- A number of a column whose values are all finite.
{value}::double precision;

-- name: comparison_sample
-- Measures of a sample of the rows, or of all of them if the condition is `true`.
select {measures} from {relation} where {sampled};

-- name: comparison_sampled
-- Whether a key is in the sample, which is the same in every run: so many of 1,048,576 hash values.
{hash} & 1048575 < {hashes};

-- name: comparison_integer_hash
-- The hash of a key of one integer.
hashint8extended({key}, 0);

-- name: comparison_key_hash
-- The hash of any other key.
hash_record_extended(row({keys}), 0);

-- name: comparison_edges
-- Equally frequent values of a number: the edges of its histogram.
percentile_disc((select array_agg(n / {steps}::double precision order by n) from generate_series(0, {steps}) n))
  within group (order by {value}) as {name};

-- name: comparison_tails
-- The smallest and the largest values of a number, all of which are outside of these limits.
with numbers as (
  select distinct {value} as value from {relation} where {value} < {low} or {value} > {high}
)
(select value from numbers order by value limit {count}) union (select value from numbers order by value desc limit {count});

-- name: comparison_distinct
-- How many values a column has.
count(distinct {value}::text collate "C") as {name};

-- name: comparison_histogram
-- The values of a number in parts, such as two versions, counted between edges, each of which belongs to the values above
-- it. Values that are not finite have no bucket. With OFFSET, Postgres assumes few buckets: it then counts the values
-- without sorting them.
select part, width_bucket(value, {edges}::double precision[]) as bucket, count(*) as rows, avg(value) as mean,
       stddev_pop(value) as deviation, min(value) as low, max(value) as high
  from ({numbers} offset 0) numbers
 group by 1, 2;

-- name: comparison_numbers
-- The values of a number in one part.
select {value} as value, {part} as part from {relation};

-- name: comparison_places
-- The values at some places in order. Only values within bounds are sorted, which alternate: from, below, from, below, …
select place, value
  from (
    select value, row_number() over (order by value) as place
      from (select {value} as value from {relation}) numbers
     where mod(width_bucket(value, {bounds}::double precision[]), 2) = 1
  ) sorted
 where place = any({places})
 order by place;

-- name: comparison_movement
-- How the common rows of two versions differ, in one pass over them and for each combination of their labels.
select {measures}
  from {a} a join {b} b on {matches} {elements}
 group by {labels};

-- name: comparison_movement_rows
-- How many rows are common, and how many of them differ in any column.
count(*) as rows, count(*) filter (where {changed}) as changed;

-- name: comparison_changed
-- Whether a column has another value.
a.{column} is distinct from b.{column};

-- name: comparison_changed_beyond
-- The same for numbers that may differ by a little.
({changed} and {beyond});

-- name: comparison_beyond
-- Whether numbers differ by more than that, or cannot be subtracted.
coalesce(abs({difference}) > {allowance}, true);

-- name: comparison_changed_rows
-- In how many rows a column has another value.
count(*) filter (where {changed}) as {changed_name};

-- name: comparison_number_movement
-- How far a number moved: rows with a number in both versions, and the sum and the largest of the differences.
count({difference}) as {compared_name}, sum({difference}) as {total_name}, max(abs({difference})) as {largest_name},
count(*) filter (where abs({difference}) > {tolerance}) as {moved_name};

-- name: comparison_element_movement
-- How far an element of an array moved.
max({distance}) as {largest_name}, count(*) filter (where {distance} > {tolerance}) as {moved_name};

-- name: comparison_elements
-- The largest distance of two elements in a row, if its arrays differ.
cross join lateral (
  select max(abs({difference})) as distance {beyond}
    from unnest(a.{column}::{type}, b.{column}::{type}) as element (a, b)
   where {changed}
) {name};

-- name: comparison_elements_beyond
-- Whether any of the elements differs by more than it may.
, bool_or(element.a is distinct from element.b and {beyond}) as beyond;

-- name: comparison_movers
-- The common rows in which a number moved most.
select jsonb_build_array({keys}) as key, a.{column} as a, b.{column} as b
  from {a} a join {b} b on {matches}
 where abs({difference}) > {allowance}
 order by abs({difference}) desc, {keys}
 limit {limit};
