"""Airflow DAGs for prescore's models. A DAG file of any folder needs two lines:

from prescore_dags import airflow_dags
airflow_dags()
"""

from prescore_dags.factory import airflow_dags as airflow_dags

__all__ = ["airflow_dags"]
