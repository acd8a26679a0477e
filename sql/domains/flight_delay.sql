-- The domain of flight_delay: every flight that left, or should have left, New York in 2013, one row a flight.
--
-- Only what is known before departure is here. The flight record's dep_time, dep_delay, arr_time, arr_delay and
-- air_time are written down afterwards, so none of them is read. Two columns need a word:
--   * the weather is the observation of the hour BEFORE the scheduled one: that of 10:51 is no help to a flight at 10:15.
--     (A nightly run for tomorrow's flights would read a forecast here; the past has only observations.)
--   * the tail number is that of the aircraft that flew. It is taken as known beforehand; a late swap is not seen.
--
-- Casts are explicit: the model takes float32, which holds every SMALLINT exactly and a REAL as it is. What is
-- rounded is rounded here, once, for training and for serving alike.
with

-- Weather is keyed by the instant (time_hour, in UTC), not by the local date and hour: on 3 November 2013 summer time
-- ended, one o'clock came twice at each of the three airports, and a join on the local hour would double flights.
-- "distinct on" makes it certain: should an hour ever be observed twice, the row that sorts first by all columns stays.
weather as (
    select distinct on (origin, time_hour)
        origin,
        time_hour + interval 1 hour as known_for,
        temp,
        humid,
        wind_dir,
        -- One reading, 1,048 miles an hour at Newark on 12 February, is an instrument's error: no wind is known then.
        case when wind_speed < 200 then wind_speed end as wind_speed,
        precip,
        pressure,
        visib
    from read_parquet('data/weather.parquet')
    order by all
),

-- How busy the airport plans to be: departures in the timetable for the same hour, later cancelled ones included.
timetable as (
    select origin, time_hour, count(*) as departures
    from read_parquet('data/flights.parquet')
    group by origin, time_hour
)

select
    -- key
    f.carrier,
    f.flight,
    f.origin,
    make_date(f.year, f.month, f.day) as date,
    -- carried along (dest is a feature too); local time, as on the ticket
    f.dest,
    make_timestamp(f.year, f.month, f.day, f.hour, f.minute, 0) as scheduled_departure,
    -- features: the timetable. Times are minutes since local midnight, the arrival's at its destination.
    -- The month is left out on purpose: tested on months never trained on, it could only mislead.
    isodow(make_date(f.year, f.month, f.day))::smallint as weekday,
    (f.hour * 60 + f.minute)::smallint as departure_minute,
    (f.sched_arr_time // 100 * 60 + f.sched_arr_time % 100)::smallint as arrival_minute,
    f.distance::smallint as distance,
    t.departures::smallint as departures_in_hour,
    -- features: the aircraft; NULL where its number is not in the register (American and Envoy report their own)
    (f.year - p.year)::smallint as plane_age,
    p.seats::smallint as seats,
    -- features: the weather an hour earlier; NULL where no observation was made
    w.temp::real as temp,
    w.humid::real as humid,
    w.wind_dir::smallint as wind_dir,
    w.wind_speed::real as wind_speed,
    w.precip::real as precip,
    w.pressure::real as pressure,
    w.visib::real as visib
from read_parquet('data/flights.parquet') as f
join timetable as t on t.origin = f.origin and t.time_hour = f.time_hour
left join weather as w on w.origin = f.origin and w.known_for = f.time_hour
-- planes has one row a tail number
left join read_parquet('data/planes.parquet') as p on p.tailnum = f.tailnum
