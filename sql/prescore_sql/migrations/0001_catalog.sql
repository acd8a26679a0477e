-- The catalog: what prescore knows of its models, their versions, and who may write.
-- Everything a reader needs is here, so that the lookup API serves a new model without a new release.

comment on schema prescore is 'prescore''s catalog: models, versions, chunks, events';
create schema prescore_versions;
comment on schema prescore_versions is 'one table a version of predictions; read them through the views in schema predictions';
create schema predictions;
comment on schema predictions is 'one view a model, always showing the one published version';

create table prescore.catalog (
  id uuid not null default gen_random_uuid()
);
insert into prescore.catalog default values;
comment on table prescore.catalog is 'one row: by what this catalog''s files are told from those of others in the same store';

create table prescore.models (
  model             text primary key,
  description       text not null default '',
  published_version integer,
  parent_name       text,
  last_version      integer not null default 0,
  held_at           timestamptz,
  held_by           text,
  hold_reason       text,
  created_at        timestamptz not null default now(),
  check ((held_at is null) = (hold_reason is null))
);
comment on table prescore.models is 'one row a model; published_version is the pointer that readers follow';
comment on column prescore.models.published_version is 'the version that predictions.<model> shows; one UPDATE of this is a publication';
comment on column prescore.models.parent_name is 'the table, in prescore_versions, that the view reads: null means the model''s own name';
comment on column prescore.models.last_version is 'the last version number given out';
comment on column prescore.models.held_at is 'set while the model is on hold: runs go on, nothing is published';

create table prescore.versions (
  model                text not null references prescore.models,
  version              integer not null check (version > 0),
  state                text not null default 'building'
    check (state in ('building', 'staged', 'checked', 'published', 'superseded', 'refused', 'failed', 'retired')),
  table_name           text not null,
  attached_at          timestamptz,
  model_fingerprint    text not null,
  domain_fingerprint   text not null,
  spec_fingerprint     text not null,
  key_columns          jsonb not null,
  output_columns       jsonb not null,
  snapshot_location    text,
  snapshot_fingerprint text,
  snapshot_rows        bigint,
  snapshot_chunks      integer,
  data_as_of           timestamptz,
  max_age_seconds      double precision,
  refuse_stale         boolean not null default false,
  cache_seconds        double precision not null default 0,
  in_memory             boolean not null default false,
  rows                 bigint,
  rejected             bigint,
  checks               jsonb,
  checks_fingerprint   text,
  seconds              jsonb not null default '{}',
  error                text,
  to_publish           boolean not null default false,
  trial_rows           bigint check (trial_rows > 0),
  as_of                timestamptz,
  started_at           timestamptz not null default now(),
  staged_at            timestamptz,
  checked_at           timestamptz,
  published_at         timestamptz,
  superseded_at        timestamptz,
  withdrawn_at         timestamptz,
  pinned_at            timestamptz,
  retired_at           timestamptz,
  primary key (model, version),
  check (state not in ('published', 'superseded') or (checked_at is not null and published_at is not null)),
  check (state not in ('published', 'superseded') or trial_rows is null)
);
comment on table prescore.versions is 'one row a version: a complete prediction table, never changed after it is staged';
comment on column prescore.versions.table_name is 'its table, in schema prescore_versions';
comment on column prescore.versions.attached_at is 'since when that table is a partition of its model''s parent';
comment on column prescore.versions.model_fingerprint is 'SHA-256 of the ONNX file';
comment on column prescore.versions.domain_fingerprint is 'SHA-256 of the domain''s source and query';
comment on column prescore.versions.spec_fingerprint is 'SHA-256 of what in the spec decides the table''s content';
comment on column prescore.versions.key_columns is '[{name, type, comment, role}] in key order';
comment on column prescore.versions.output_columns is '[{name, type, comment, role}] in table order; role tells outputs from passed-through columns';
comment on column prescore.versions.data_as_of is 'the time that the inputs describe';
comment on column prescore.versions.max_age_seconds is 'the freshness promise: how old data_as_of may be';
comment on column prescore.versions.refuse_stale is 'the lookup API refuses what is older than promised, and does not serve it as stale';
comment on column prescore.versions.cache_seconds is 'for how long an answer may be used again without asking';
comment on column prescore.versions.in_memory is 'the lookup API may hold the version in memory';
comment on column prescore.versions.checks_fingerprint is 'SHA-256 of the spec''s checks, set when they have run';
comment on column prescore.versions.snapshot_rows is 'rows of the domain, those set aside included';
comment on column prescore.versions.rejected is 'rows set aside, in prescore.rejects';
comment on column prescore.versions.trial_rows is 'a trial on at most so many rows of the domain, which is never published';
comment on column prescore.versions.as_of is 'the time that its run was asked to be for; null when it was for the moment at which it began';
comment on column prescore.versions.to_publish is 'the run that makes it means to publish it, and has not come to that yet';
comment on column prescore.versions.withdrawn_at is 'set when a roll-back took it from readers: a later roll-back passes over it';
comment on column prescore.versions.pinned_at is 'set while somebody wants it kept, whatever retention says';

create unique index versions_one_published on prescore.versions (model) where state = 'published';

alter table prescore.models
  add foreign key (model, published_version) references prescore.versions (model, version);

create table prescore.chunks (
  model        text not null,
  version      integer not null,
  chunk        integer not null check (chunk >= 0),
  rows         bigint not null,
  rejected     bigint not null default 0,
  seconds      double precision not null,
  committed_at timestamptz not null default clock_timestamp(),
  primary key (model, version, chunk),
  foreign key (model, version) references prescore.versions
);
comment on table prescore.chunks is 'the ledger: one row a finished chunk, committed together with the chunk''s predictions';

create table prescore.rejects (
  model       text not null,
  version     integer not null,
  chunk       integer,
  key         jsonb not null,
  column_name text,
  reason      text not null,
  foreign key (model, version) references prescore.versions
);
comment on table prescore.rejects is 'rows set aside: they could not be scored, or their prediction is not finite';
comment on column prescore.rejects.chunk is 'the chunk that was being scored; null for a row that the snapshot left out';
comment on column prescore.rejects.key is 'the row''s key by column, as the domain gave it';
comment on column prescore.rejects.column_name is 'the column at fault; null when the model failed on the row';
create index rejects_by_version on prescore.rejects (model, version);

create table prescore.leases (
  model      text primary key,
  token      bigint not null,
  holder     text not null,
  watched    boolean not null,
  expires_at timestamptz not null
);
comment on table prescore.leases is 'who may write a model: the holder of the latest token, checked inside every writing transaction';
comment on column prescore.leases.token is 'the fencing token; it only grows';
comment on column prescore.leases.watched is 'the holder keeps an advisory lock on its token, so that its death is seen at once';
create sequence prescore.lease_token;

create table prescore.events (
  id      bigint generated always as identity primary key,
  at      timestamptz not null default clock_timestamp(),
  model   text not null,
  version integer,
  event   text not null,
  actor   text not null,
  reason  text,
  detail  jsonb not null default '{}'
);
comment on table prescore.events is 'what happened to a model and who did it; rows are only ever added';
create index events_by_model on prescore.events (model, id desc);

create table prescore.api_keys (
  id         text primary key,
  name       text not null,
  hash       bytea not null,
  models     text[],
  created_at timestamptz not null default now(),
  created_by text not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  check (expires_at > created_at),
  check ((revoked_at is null) = (revoked_by is null))
);
comment on table prescore.api_keys is 'who may read over HTTP; the keys themselves are kept nowhere';
comment on column prescore.api_keys.id is 'the part of a key that is no secret, by which lists and logs name it';
comment on column prescore.api_keys.hash is 'SHA-256 of the secret part';
comment on column prescore.api_keys.models is 'the models that it may read; null for all';
create unique index api_keys_one_a_name on prescore.api_keys (name) where revoked_at is null;

create table prescore.publications (
  id           bigint generated always as identity primary key,
  model        text not null,
  version      integer not null,
  published_at timestamptz not null default now(),
  visible_from timestamptz not null,
  foreign key (model, version) references prescore.versions
);
comment on column prescore.publications.visible_from is 'transactions that began before this go on with the version from before';
comment on table prescore.publications is 'the pointer''s history, newest last: what each transaction is to see';
create index publications_by_model on prescore.publications (model, id desc);

-- A transaction that has read a model once keeps its list of partitions until it ends, even at read committed, where
-- each statement has a newer snapshot. It must not be pointed at a partition that came after it began: it goes on
-- seeing the version from before. now() is the time at which the transaction began.
create view prescore.visible as
select m.model,
       coalesce(
         (select p.version
          from prescore.publications p
          join prescore.versions v on v.model = p.model and v.version = p.version
          where p.model = m.model and v.attached_at < now() and p.visible_from < now()
          order by p.id desc
          limit 1),
         m.published_version
       ) as version,
       coalesce(m.parent_name, m.model) as parent_name
from prescore.models m;
comment on view prescore.visible is 'which version of each model the asking transaction sees, and the parent that its snapshot knows of';

-- A model's view reads one parent. A transaction whose snapshot is from before the view was made over another parent
-- would look there for a version that is not in it: an error that says so, and not no rows.
create function prescore.began_before(model text) returns integer
language plpgsql stable parallel safe as $$
begin
  raise exception using
    errcode = 'serialization_failure',
    message = format('the columns of predictions.%I changed after this transaction began', model),
    hint = 'Begin it anew.';
end
$$;
comment on function prescore.began_before is 'tells a transaction that a model''s view has other columns than its snapshot knows of';

create view predictions.freshness as
select m.model,
       v.version,
       v.data_as_of,
       v.published_at,
       extract(epoch from now() - v.data_as_of)::double precision as age_seconds,
       v.max_age_seconds,
       coalesce(extract(epoch from now() - v.data_as_of) > v.max_age_seconds, false) as stale,
       m.held_at is not null as held
from prescore.models m
join prescore.visible s on s.model = m.model
join prescore.versions v on v.model = m.model and v.version = s.version;
comment on view predictions.freshness is 'how old each published version is, against what its owner promised';
