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
