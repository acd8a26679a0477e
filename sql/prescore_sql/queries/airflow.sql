-- name: airflow_database_exists
-- Return whether the server has a database for Airflow's own metadata.
select exists (select from pg_database where datname = 'airflow') as present;

-- name: airflow_database_create
-- Create the database for Airflow's metadata, separate from the predictions.
create database airflow;
