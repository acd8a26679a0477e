"""The DAGs of this project: one for each spec, and two for upkeep."""

from prescore_dags import airflow_dags

airflow_dags()
