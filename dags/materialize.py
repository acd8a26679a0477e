"""This project's Airflow DAGs: one for each spec."""

from prescore_dags import airflow_dags

airflow_dags()
