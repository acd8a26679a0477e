-- name: events_add
-- Add an event to the history: what happened to which version, the user and the reason.
insert into prescore.events (model, version, event, actor, reason, detail)
values (%(model)s, %(version)s, %(event)s, %(actor)s, %(reason)s, %(detail)s);

-- name: events_list
-- A model's history, newest first.
select at, model, version, event, actor, reason, detail from prescore.events where model = %(model)s order by id desc;

-- name: events_last
-- The last event of a kind in the life of a version. No row without one.
select reason, detail from prescore.events
where model = %(model)s and version = %(version)s and event = %(event)s order by id desc limit 1;

-- name: events_hold_by_rollback
-- Whether the model's last hold came with a rollback, and not by hand.
select coalesce((select (e.detail ->> 'rolled_back')::boolean from prescore.events e
                 where e.model = %(model)s and e.event = 'held' order by e.id desc limit 1), false) as found;

-- name: events_started_from_scratch
-- Whether a run, named by the event's reason, has already started a version from scratch that is not published yet.
select exists (select from prescore.events e join prescore.versions v on v.model = e.model and v.version = e.version
               where e.model = %(model)s and e.event = 'started from scratch' and e.reason = %(reason)s
                 and v.state in ('building', 'staged', 'checked')) as started;
