-- The catalog: models, their versions, and the leases that allow writing them.
-- It holds everything that readers need, so the lookup API can serve a new model without being deployed again.
-- Schemas, views and functions are in queries/objects.sql: `prescore db migrate` restores them when they are gone.

create table prescore.catalog (
  id uuid primary key default gen_random_uuid()
);
insert into prescore.catalog default values;
comment on table prescore.catalog is 'one row: identifies this catalog''s files in a store that several catalogs share';

-- A lock on a row of a table needs rights on it. Any role may take an advisory lock, and could stop publications with it.
create table prescore.locks (
  name text primary key
);
insert into prescore.locks values ('grants'), ('views');
comment on table prescore.locks is 'one row for each lock: writers lock it while they change privileges';

create table prescore.model_files (
  fingerprint text primary key
);
comment on table prescore.model_files
  is 'one row for each model file that was ever stored: locked while the file is stored or removed';

create table prescore.models (
  model             text primary key,
  description       text not null default '',
  published_version integer,
  parent_name       text,
  reads_deltas      boolean not null default false,
  canary_version    integer,
  canary_share      double precision check (canary_share between 0 and 1),
  last_version      integer not null default 0,
  held_at           timestamptz,
  held_by           text,
  hold_reason       text,
  created_at        timestamptz not null default now(),
  check ((held_at is null) = (hold_reason is null)),
  check ((canary_version is null) = (canary_share is null)),
  check (canary_version <> published_version)
);
comment on table prescore.models is 'one row for each model; published_version is the pointer that readers follow';
comment on column prescore.models.published_version
  is 'the version that predictions.<model> shows; publishing is one UPDATE of this column';
comment on column prescore.models.parent_name
  is 'the partitioned table, in schema prescore_versions, that the view reads; null: the one with the model''s name';
comment on column prescore.models.reads_deltas
  is 'whether the view can show deltas: it is replaced once, when the first one is published';
comment on column prescore.models.canary_version
  is 'the version that is tried beside the published one; predictions.<model>_canary shows it; null without one';
comment on column prescore.models.canary_share
  is 'the share of the keys that the lookup API answers from the canary, from 0 to 1; 0 for one in shadow';
comment on column prescore.models.last_version is 'the number of the newest version';
comment on column prescore.models.held_at
  is 'when the model was put on hold: runs continue, but nothing is published; null when it is not on hold';

create table prescore.versions (
  model                text not null references prescore.models,
  version              integer not null check (version > 0),
  id                   uuid not null default gen_random_uuid(),
  state                text not null default 'building'
    check (state in ('building', 'staged', 'checked', 'published', 'superseded', 'refused', 'failed', 'retired')),
  table_name           text not null,
  rows_version         integer not null,
  rows_table           text not null,
  rows_stored          bigint,
  base_version         integer,
  base_table           text,
  content_version      integer not null,
  changes              jsonb,
  changes_location     text,
  unchanged_value      text,
  kept                 bigint not null default 0,
  updated              bigint not null default 0,
  tombstones           boolean not null default false,
  attached_at          timestamptz,
  model_fingerprint    text,
  domain_fingerprint   text not null,
  spec_fingerprint     text not null,
  spec                 jsonb not null,
  signature            jsonb,
  runtime              text,
  producer             text not null default '',
  prescore_version     text not null default '',
  examples_fingerprint text,
  chunk_rows           integer,
  parameters           jsonb not null default '{}',
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
  in_memory            boolean not null default false,
  live                 boolean not null default false,
  live_cache_seconds   double precision not null default 0,
  rows                 bigint,
  rejected             bigint,
  checks               jsonb,
  checks_fingerprint   text,
  comparison           jsonb,
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
  check (state not in ('published', 'superseded') or trial_rows is null),
  check ((base_version is null) = (base_table is null)),
  check (base_version < rows_version)
);
comment on table prescore.versions
  is 'one row for each version: a complete table of predictions, immutable once it is staged';
comment on column prescore.versions.id
  is 'identifies the version''s rows: numbers are given out again after a restore, ids are not';
comment on column prescore.versions.table_name
  is 'the whole version, in schema prescore_versions: a table, or a view of a version that shares rows with others';
comment on column prescore.versions.rows_version
  is 'the version whose rows these are: itself, or an earlier one if nothing has changed since';
comment on column prescore.versions.rows_table
  is 'the table of rows_version: all rows of a full version, or those in which a delta differs from its base';
comment on column prescore.versions.rows_stored
  is 'how many rows rows_table has, with those that only hide a row of the base; null until the version is staged';
comment on column prescore.versions.base_version
  is 'the full version whose rows a delta shows where rows_table has none of the same key; null for a full version';
comment on column prescore.versions.base_table is 'the table of base_version';
comment on column prescore.versions.content_version
  is 'the earliest version with the same predictions: itself, unless it was made by copying or nothing had changed';
comment on column prescore.versions.changes
  is 'how the snapshot differs from that of the base, or the reason why every row was scored; null: not incremental';
comment on column prescore.versions.changes_location is 'the rows of a delta''s snapshot that are to be scored; null once they are';
comment on column prescore.versions.unchanged_value
  is 'the query domain.unchanged_if and its value when the snapshot was taken; null without such a query';
comment on column prescore.versions.kept
  is 'how many of its rows have keys that have vanished from the domain, and are kept';
comment on column prescore.versions.updated
  is 'how many rows of `rows_table` were updated before it was complete, by the server''s statistics';
comment on column prescore.versions.tombstones
  is 'whether the answer for a key that it does not have names the last version that has it';
comment on column prescore.versions.attached_at
  is 'when the table was attached to the model''s partitioned table; null while it is not attached';
comment on column prescore.versions.model_fingerprint
  is 'SHA-256 of the ONNX file and its weights; null: the predictions were made elsewhere';
comment on column prescore.versions.domain_fingerprint is 'SHA-256 of the domain''s source and query';
comment on column prescore.versions.spec_fingerprint
  is 'SHA-256 of the parts of the spec that determine the table''s content';
comment on column prescore.versions.spec
  is 'the parts of the spec that determine the table''s content, by which the version can be scored again';
comment on column prescore.versions.signature
  is 'what the model file takes and gives, and the columns that stand for it; null: without a model file or a snapshot';
comment on column prescore.versions.runtime is 'the release of ONNX Runtime that scores it; null: without a model file';
comment on column prescore.versions.producer is 'the program that exported the ONNX file, as the file says';
comment on column prescore.versions.prescore_version is 'the release of prescore that started or last resumed it';
comment on column prescore.versions.examples_fingerprint
  is 'SHA-256 of the examples that the model reproduced; null: the spec has none';
comment on column prescore.versions.chunk_rows
  is 'rows of a chunk, if the spec accepts that they change predictions; otherwise null';
comment on column prescore.versions.parameters is 'the values of the parameters of the domain query';
comment on column prescore.versions.key_columns is '[{name, type, comment, role}] in key order';
comment on column prescore.versions.output_columns
  is '[{name, type, comment, role}] in table order; role is output or passthrough';
comment on column prescore.versions.data_as_of is 'the time that the inputs describe';
comment on column prescore.versions.max_age_seconds
  is 'the max age: how old data_as_of may become before the version is stale; null: no limit';
comment on column prescore.versions.refuse_stale
  is 'whether the lookup API refuses to serve the version when it is older than its max age';
comment on column prescore.versions.cache_seconds is 'how long clients may cache an answer of the lookup API';
comment on column prescore.versions.in_memory is 'whether the lookup API may load the version into memory';
comment on column prescore.versions.live
  is 'whether the lookup API may score rows of features with the version''s model file';
comment on column prescore.versions.live_cache_seconds
  is 'how long the lookup API may repeat a live answer for the same features';
comment on column prescore.versions.checks_fingerprint is 'SHA-256 of the spec''s checks; null until they have run';
comment on column prescore.versions.comparison
  is 'how it differed from the version that was served when it was checked; null: it was compared with none';
comment on column prescore.versions.snapshot_rows is 'rows of the domain, including rejected rows';
comment on column prescore.versions.rejected is 'number of rejected rows; prescore.rejects holds the rows themselves';
comment on column prescore.versions.trial_rows
  is 'set for a trial run: the most rows in the sample of the domain; a trial is never published';
comment on column prescore.versions.as_of
  is 'set for a backfill: the earlier time that the run was for; null: the time at which the run started';
comment on column prescore.versions.to_publish
  is 'whether its run will publish it once it passes its checks; false again after publication';
comment on column prescore.versions.withdrawn_at is 'when a rollback withdrew the version; later rollbacks skip it';
comment on column prescore.versions.pinned_at
  is 'when the version was pinned; a pinned version is kept regardless of retention';

create unique index versions_one_published on prescore.versions (model) where state = 'published';

alter table prescore.models
  add foreign key (model, published_version) references prescore.versions (model, version),
  add foreign key (model, canary_version) references prescore.versions (model, version);

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
comment on table prescore.chunks
  is 'the ledger: one row for each finished chunk, committed together with the chunk''s predictions';

-- Without a primary key, no row could be deleted in a database with a publication FOR ALL TABLES.
create table prescore.rejects (
  id          bigint generated always as identity primary key,
  model       text not null,
  version     integer not null,
  chunk       integer,
  key         jsonb not null,
  column_name text,
  reason      text not null,
  foreign key (model, version) references prescore.versions
);
comment on table prescore.rejects is 'rejected rows: rows that could not be scored, or whose prediction is not finite';
comment on column prescore.rejects.chunk
  is 'the chunk that the row belongs to; null for a row that was rejected while the snapshot was taken';
comment on column prescore.rejects.key is 'the row''s key as {column: value}, as the domain query returned it';
comment on column prescore.rejects.column_name
  is 'the column that caused the rejection; null when the model failed on the row';
create index rejects_by_version on prescore.rejects (model, version);

create table prescore.profiles (
  model       text not null,
  version     integer not null,
  column_name text not null,
  edges       double precision[],
  buckets     integer[] not null,
  rows        bigint[] not null,
  means       double precision[] not null,
  deviations  double precision[] not null,
  lows        double precision[] not null,
  highs       double precision[] not null,
  labels      jsonb,
  primary key (model, version, column_name),
  foreign key (model, version) references prescore.versions
);
comment on table prescore.profiles
  is 'the profiles of full versions, by column: a comparison of deltas over a version starts from its profile';
comment on column prescore.profiles.edges
  is 'the edges of the histogram, each of which belongs to the values above it; null unless the column has numbers';
comment on column prescore.profiles.buckets
  is 'the bins that have values: how many edges are below or at their values, as width_bucket returns it';
comment on column prescore.profiles.rows is 'how many values each of these bins has';
comment on column prescore.profiles.means is 'the mean of the values of each bin';
comment on column prescore.profiles.deviations is 'the standard deviation of the values of each bin';
comment on column prescore.profiles.lows is 'the smallest value of each bin';
comment on column prescore.profiles.highs is 'the largest value of each bin';
comment on column prescore.profiles.labels is '[[value, rows]] of a column with few values, otherwise null';

create table prescore.leases (
  model      text primary key,
  token      bigint not null,
  holder     text not null,
  watched    boolean not null,
  expires_at timestamptz not null
);
comment on table prescore.leases
  is 'which run may write a model: the holder of the latest token, checked in every writing transaction';
comment on column prescore.leases.token is 'the fencing token, which only ever grows';
comment on column prescore.leases.watched
  is 'whether the holder keeps an advisory lock on its token, so that other runs notice at once when its session ends';
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
comment on table prescore.events
  is 'the history of each model: what happened, when, by which user and why; rows are never changed';
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
comment on table prescore.api_keys is 'API keys for reading over HTTP; the keys themselves are not stored';
comment on column prescore.api_keys.id is 'the public part of the key, which identifies it in lists and logs';
comment on column prescore.api_keys.hash is 'SHA-256 of the secret part of the key';
comment on column prescore.api_keys.models is 'the models that the key may read; null: all models';
create unique index api_keys_one_a_name on prescore.api_keys (name) where revoked_at is null;

create table prescore.publications (
  id           bigint generated always as identity primary key,
  model        text not null,
  version      integer not null,
  published_at timestamptz not null default now(),
  visible_from timestamptz not null,
  foreign key (model, version) references prescore.versions
);
comment on column prescore.publications.visible_from
  is 'transactions that began earlier keep seeing the previous version';
comment on table prescore.publications is 'every publication, newest last: determines which version a transaction sees';
create index publications_by_model on prescore.publications (model, id desc);
