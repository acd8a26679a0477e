-- The domain of demand: one row for every product, shop and week, for the eight weeks that were known at the time of the
-- run. train.py reads its features with this query too, as of earlier times, so that it can't know more than a run would.
with features as (
    select
        product,
        shop,
        week,
        -- The sales of a week are known once it is over.
        week + interval 7 days as known_at,
        units::real as units_last_week,
        avg(units) over (history rows 3 preceding)::real as units_four_weeks,
        avg(units) over (history rows 12 preceding)::real as units_quarter,
        -- The week after this one, and the four weeks after it, a year ago.
        lag(units, 51) over (history)::real as units_year_ago,
        avg(units) over (history rows between 51 preceding and 48 preceding)::real as units_season,
        price::real as price,
        promoted_next::integer::real as promoted_next
    from read_parquet('data/sales.parquet')
    window history as (partition by product, shop order by week)
)
select *
from features
where known_at <= $as_of and known_at > $as_of - interval 8 weeks
