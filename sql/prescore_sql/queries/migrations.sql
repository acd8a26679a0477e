-- The format of every file here: `-- name: subject_verb`, comment lines on what the statement does, the statement.
-- %(placeholders)s are values; {braces} are identifiers, which psycopg.sql composes.

-- name: migrations_lock
-- Run one migration at a time, across processes. The lock needs more rights than readers have.
lock table prescore.migrations in share row exclusive mode;

-- name: migrations_table
-- The table that records applied migrations.
create schema if not exists prescore;
create table if not exists prescore.migrations (
  number integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
);

-- name: migrations_exist
-- Return whether any migration was ever applied here.
select to_regclass('prescore.migrations') is not null as present;

-- name: migrations_applied
-- The applied migrations, each with the checksum of its file.
select number, checksum from prescore.migrations order by number;

-- name: migrations_record
-- Record a migration as applied.
insert into prescore.migrations (number, name, checksum) values (%(number)s, %(name)s, %(checksum)s);
