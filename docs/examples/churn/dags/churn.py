"""The DAGs prescore_churn, prescore_watch and prescore_retire."""

from prescore_dags import airflow_dags

airflow_dags(default_args={"owner": "retention"}, tags=["customers"])
