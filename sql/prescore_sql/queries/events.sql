-- name: events_add
-- What happened, to what, by whom, why.
insert into prescore.events (model, version, event, actor, reason, detail)
values (%(model)s, %(version)s, %(event)s, %(actor)s, %(reason)s, %(detail)s);

-- name: events_list
-- A model's history, newest first.
select at, model, version, event, actor, reason, detail from prescore.events where model = %(model)s order by id desc;
