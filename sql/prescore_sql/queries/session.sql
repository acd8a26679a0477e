-- name: session_process
-- The server's process behind this connection. Behind a pooler, it is another one than the connection was opened to.
-- At read committed, because a standby has no serializable transactions.
begin isolation level read committed read only;
select pg_backend_pid() as pid;
commit;

-- name: session_process_now
-- The same inside of a transaction.
select pg_backend_pid() as pid;

-- name: session_prepare
-- Apply settings to the session. A default of serializable must not reach this transaction, either.
begin isolation level read committed;
{settings};
commit;

-- name: session_settings
-- What a role or a database may set, and what would change the values that are read, or which rows: formats of values
-- that the drivers expect, floats with all their digits, names of types without quotes, and Postgres' own functions
-- before others of the same name, as they are unless pg_catalog is named in the search path. Without row_security = off, policies would silently hide rows.
set {scope} datestyle = 'ISO';
set {scope} intervalstyle = 'postgres';
set {scope} timezone = 'UTC';
set {scope} bytea_output = 'hex';
set {scope} extra_float_digits = 1;
set {scope} quote_all_identifiers = off;
set {scope} row_security = off;
set {scope} default_transaction_deferrable = off;
set {scope} default_transaction_isolation = 'read committed';
select set_config('search_path', 'pg_catalog, ' || current_setting('search_path'), {is_local})
where position('pg_catalog' in current_setting('search_path')) > 0;
{limits}

-- name: session_writer_limits
-- Limits of jobs and commands. A process that is suspended in a transaction must not block others until it is resumed.
-- Sessions may be idle for long, while a source is read or checks run on another one.
set {scope} lock_timeout = '30s';
set {scope} idle_in_transaction_session_timeout = '60s';
set {scope} idle_session_timeout = 0

-- name: session_reader_limits
-- Limits of connections that only read. The plan of a lookup does not depend on its keys, and with custom plans, which
-- Postgres prefers for one key, planning takes several times as long as running.
set {scope} default_transaction_read_only = on;
set {scope} plan_cache_mode = force_generic_plan;
set {scope} statement_timeout = {statement_timeout}
