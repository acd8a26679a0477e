"""Airflow DAGs for the models of a prescore project. A DAG file needs two lines:

from prescore_dags import airflow_dags
airflow_dags()
"""

from prescore_dags.factory import airflow_dags as airflow_dags

__all__ = ["airflow_dags"]
