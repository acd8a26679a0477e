#!/bin/bash
# Create the two databases and the roles that use them, none of which is a superuser. Postgres runs this once, when the
# volume is new.
set -euo pipefail
psql --quiet --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-postgres}" -v ON_ERROR_STOP=1 \
  -v owner="$OWNER_PASSWORD" -v writer="$WRITER_PASSWORD" -v reader="$READER_PASSWORD" \
  -v airflow="$AIRFLOW_DB_PASSWORD" <<'SQL'
create role prescore_owner login password :'owner';
create role prescore_writer login password :'writer';
create role prescore_reader login password :'reader';
grant prescore_writer to prescore_owner;
create database predictions template template0 encoding 'UTF8' locale 'C.UTF-8';
grant create on database predictions to prescore_owner;
revoke connect on database predictions from public;
grant connect on database predictions to prescore_owner, prescore_writer, prescore_reader;

create role airflow login password :'airflow';
create database airflow owner airflow template template0 encoding 'UTF8' locale 'C.UTF-8';
revoke connect on database airflow from public;

-- From here on the superuser can only connect from inside this container.
alter role current_user password null;
SQL
