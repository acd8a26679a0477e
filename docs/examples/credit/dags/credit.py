"""The DAGs prescore_credit, prescore_watch and prescore_retire."""

from datetime import timedelta

from prescore_dags import airflow_dags

airflow_dags(
    default_args={"owner": "risk"},
    params={"when_checked": "ask for approval"},
    task_options={"approve": {"response_timeout": timedelta(days=5)}},
)
