"""Airflow DAGs for the models of a prescore project. A DAG file needs two lines:

from prescore_dags import airflow_dags
airflow_dags()
"""

from prescore_dags.factory import airflow_dags as airflow_dags
from prescore_dags.group import airflow_task_group as airflow_task_group

__all__ = ["airflow_dags", "airflow_task_group"]
