"""The DAGs prescore_mortgage_linear, prescore_mortgage_trees, prescore_watch and prescore_retire."""

from prescore_dags import airflow_dags

airflow_dags(default_args={"owner": "credit"}, params={"when_checked": "ask for approval"})
