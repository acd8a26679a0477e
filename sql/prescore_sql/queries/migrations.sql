-- Format of every file here: `-- name: subject_verb`, a line on what it does, the statement.
-- Values are %(named)s; {braces} are identifiers, composed by psycopg.sql, never formatted.

-- name: session_settings
-- Values are spelt in one way whatever the server's settings are: Python reads no other dates. Nothing waits for ever
-- for a lock that somebody forgot to give back.
set datestyle = 'ISO';
set lock_timeout = '30s';
-- A process that was stopped in a transaction must not keep others waiting for as long as it is stopped.
set idle_in_transaction_session_timeout = '60s';
-- A connection idles while a source is read or checks run elsewhere, and every statement is to see what is there by now.
set idle_session_timeout = 0;
set default_transaction_isolation = 'read committed';

-- name: migrations_lock
-- One migration at a time, whoever starts it; released at the end of the transaction.
select pg_advisory_xact_lock(7737263);

-- name: migrations_table
-- Where the migrations that were applied are noted.
create schema if not exists prescore;
create table if not exists prescore.migrations (
  number integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);

-- name: migrations_exist
-- Whether any migration was ever applied here.
select to_regclass('prescore.migrations') is not null as known;

-- name: migrations_applied
-- The migrations applied so far, each with the checksum of its file.
select number, checksum from prescore.migrations order by number;

-- name: migrations_record
-- Note one as applied.
insert into prescore.migrations (number, name, checksum) values (%(number)s, %(name)s, %(checksum)s);
