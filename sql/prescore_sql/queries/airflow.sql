-- name: airflow_database_there
-- Whether the server has a database for Airflow's own metadata.
select exists (select from pg_database where datname = 'airflow') as there;

-- name: airflow_database_create
-- Airflow's metadata, beside the predictions and apart from them.
create database airflow;
