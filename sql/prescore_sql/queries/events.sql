-- name: events_add
-- What happened, to what, by whom, why.
insert into prescore.events (model, version, event, actor, reason, detail)
values (%(model)s, %(version)s, %(event)s, %(actor)s, %(reason)s, %(detail)s);

-- name: events_list
-- A model's history, newest first.
select at, model, version, event, actor, reason, detail from prescore.events where model = %(model)s order by id desc;

-- name: events_last_resumption
-- What the last run that went on with a version found there; no row for a version that one run made from its beginning.
select detail from prescore.events
where model = %(model)s and version = %(version)s and event = 'resumed' order by id desc limit 1;

-- name: events_started_from_scratch
-- Whether a run, named by the event's reason, has already started a version from scratch that is not published yet.
select exists (select from prescore.events e join prescore.versions v on v.model = e.model and v.version = e.version
               where e.model = %(model)s and e.event = 'started from scratch' and e.reason = %(reason)s
                 and v.state in ('building', 'staged', 'checked')) as started;
