-- The domain of flight_delay: one row for every scheduled departure from New York in 2013, including cancelled ones.
--
-- The query only reads what is known before departure. The columns dep_time, dep_delay, arr_time, arr_delay and air_time
-- are recorded afterwards, so it reads none of them. Two sources need an explanation:
--   * The weather is the observation of the hour BEFORE the scheduled departure: a flight at 10:15 cannot use the
--     observation of 10:51. (A nightly run for tomorrow's flights would read a forecast instead.)
--   * The tail number is that of the aircraft that flew. The query assumes that it was known before departure, and so
--     ignores late changes of aircraft.
--
-- Casts are explicit. The model takes float32, which holds every SMALLINT and every REAL exactly. Rounding happens only
-- here, so that training and scoring see the same numbers.
with

-- The join is on the hour in UTC (time_hour), not on the local date and hour: daylight saving time ended on 3 November
-- 2013, so that a join on the local hour would duplicate flights. If an hour has two observations, "distinct on" keeps
-- the one that sorts first by all columns.
weather as (
    select distinct on (origin, time_hour)
        origin,
        time_hour + interval 1 hour as valid_for,
        temp,
        humid,
        wind_dir,
        -- One reading, 1,048 miles an hour at Newark on 12 February, is a fault of the instrument and becomes NULL.
        case when wind_speed < 200 then wind_speed end as wind_speed,
        precip,
        pressure,
        visib
    from read_parquet('data/weather.parquet')
    order by all
),

-- How busy the airport is scheduled to be: departures in the same hour, including those cancelled later.
timetable as (
    select origin, time_hour, count(*) as departures
    from read_parquet('data/flights.parquet')
    group by origin, time_hour
)

select
    -- Key.
    f.carrier,
    f.flight,
    f.origin,
    make_date(f.year, f.month, f.day) as date,
    -- Passed through; dest is also a feature. The time is local.
    f.dest,
    make_timestamp(f.year, f.month, f.day, f.hour, f.minute, 0) as scheduled_departure,
    -- Features from the timetable. Times are minutes since midnight, local to the airport of departure or arrival.
    -- The month is not a feature, because the test months do not occur in training.
    isodow(make_date(f.year, f.month, f.day))::smallint as weekday,
    (f.hour * 60 + f.minute)::smallint as departure_minute,
    (f.sched_arr_time // 100 * 60 + f.sched_arr_time % 100)::smallint as arrival_minute,
    f.distance::smallint as distance,
    t.departures::smallint as departures_in_hour,
    -- Features of the aircraft. NULL if its tail number is not in the register: American and Envoy report their own.
    (f.year - p.year)::smallint as plane_age,
    p.seats::smallint as seats,
    -- Features from the weather an hour earlier. NULL without an observation.
    w.temp::real as temp,
    w.humid::real as humid,
    w.wind_dir::smallint as wind_dir,
    w.wind_speed::real as wind_speed,
    w.precip::real as precip,
    w.pressure::real as pressure,
    w.visib::real as visib
from read_parquet('data/flights.parquet') as f
join timetable as t on t.origin = f.origin and t.time_hour = f.time_hour
left join weather as w on w.origin = f.origin and w.valid_for = f.time_hour
-- planes has one row per tail number.
left join read_parquet('data/planes.parquet') as p on p.tailnum = f.tailnum
