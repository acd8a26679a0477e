-- name: comparison
-- Two versions side by side, joined once, and what each part measures of them. Values are a1, b1, a2, b2, …
with joined as materialized (
  select {keys}, a.version is not null as in_a, b.version is not null as in_b, {values}
    from {a} a full join {b} b on {matches}
)
{parts};

-- name: comparison_keys
-- How the keys differ, and in how many common rows each column does.
select 'keys' as part, 0 as number,
       jsonb_build_object(
         'added', count(*) filter (where not in_a),
         'vanished', count(*) filter (where not in_b),
         'common', count(*) filter (where in_a and in_b),
         'changed', count(*) filter (where in_a and in_b and ({changed})),
         'columns', jsonb_build_array({columns})
       ) as content
  from joined;

-- name: comparison_changed
-- In how many common rows a column has another value.
count(*) filter (where in_a and in_b and {a} is distinct from {b});

-- name: comparison_shift
-- How a number moved: in either version, and from one to the other over the common rows.
select 'shift', {number}, to_jsonb(measured)
  from (
    select count(a) as count_a, count(b) as count_b, avg(a) as mean_a, avg(b) as mean_b,
           stddev_pop(a) as deviation_a, stddev_pop(b) as deviation_b,
           percentile_disc({points}) within group (order by a) as quantiles_a,
           percentile_disc({points}) within group (order by b) as quantiles_b,
           avg(b - a) as mean_difference, max(abs(b - a)) as largest_difference, max(tolerance) as tolerance,
           count(*) filter (where abs(b - a) > tolerance) as moved
      from (select {value_a} as a, {value_b} as b from joined) numbers,
           (select coalesce({tolerance}, 0.1 * stddev_pop({value_a})) as tolerance from joined) allowed
  ) measured;

-- name: comparison_finite
-- A number that can be averaged and squared; NULL for NaN, infinities and numbers near the limit of the type.
case when abs({value}::double precision) < 1e150 then {value}::double precision end;

-- name: comparison_distribution
-- The Kolmogorov-Smirnov distance of a number's two distributions, and the rows of both in ten buckets. Their bounds are
-- the deciles of the first version: a value's bucket follows from the share of the first version's values below it.
select 'distribution', {number}, jsonb_build_object(
         'ks', max(distance),
         'buckets', jsonb_agg(jsonb_build_object('low', low, 'high', high, 'a', a, 'b', b) order by low)
       )
  from (
    select min(value) as low, max(value) as high, sum(a) as a, sum(b) as b,
           max(abs(up_to_a / total_a - up_to_b / total_b)) as distance
      from (
        select value, a, b, (sum(a) over up_to)::double precision as up_to_a, (sum(b) over up_to)::double precision as up_to_b
          from (
            select value, count(*) filter (where side = 'a') as a, count(*) filter (where side = 'b') as b
              from (
                select {value_a} as value, 'a' as side from joined
                union all
                select {value_b}, 'b' from joined
              ) sides
             where value is not null
             group by value
          ) counted
        window up_to as (order by value rows unbounded preceding)
      ) cumulated,
      (
        select nullif(count({value_a}), 0)::double precision as total_a,
               nullif(count({value_b}), 0)::double precision as total_b
          from joined
      ) totals
     group by least(floor(10 * (up_to_a - a) / total_a), 9)
  ) buckets;

-- name: comparison_movers
-- The common rows in which a number moved most.
select 'mover', {number}, to_jsonb(mover)
  from (
    select jsonb_build_array({keys}) as key, {a} as a, {b} as b
      from joined
     where abs({value_b} - {value_a}) > 0
     order by abs({value_b} - {value_a}) desc, {keys}
     limit {limit}
  ) mover;

-- name: comparison_labels
-- How often each pair of values occurs in the common rows: the confusion table of a column with few values.
select 'labels', {number}, to_jsonb(pair)
  from (
    select {a} as a, {b} as b, count(*) as rows
      from joined
     where in_a and in_b
     group by 1, 2
     order by 3 desc, 1, 2
     limit {limit}
  ) pair;

-- name: comparison_elements
-- How far the elements of an array moved.
select 'elements', {number}, to_jsonb(measured)
  from (
    select max(difference) as largest_difference, count(*) filter (where difference > {tolerance}) as moved
      from (
        select (
                 select max(abs({value_b} - {value_a}))
                   from unnest({a}::{type}, {b}::{type}) as element (a, b)
               ) as difference
          from joined
         where in_a and in_b
      ) rows
  ) measured;
