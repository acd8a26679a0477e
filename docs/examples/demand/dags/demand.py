"""The DAGs prescore_demand, prescore_watch and prescore_retire."""

from prescore_dags import airflow_dags

airflow_dags(default_args={"owner": "supply"}, groups=2)
