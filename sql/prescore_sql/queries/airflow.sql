-- name: airflow_database_exists
-- Whether the server has a database for Airflow's own metadata.
select exists (select from pg_database where datname = 'airflow') as present;

-- name: airflow_database_create
-- Airflow's metadata, beside the predictions and apart from them.
create database airflow;
