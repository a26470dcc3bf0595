"""``python -m airflow_provider_seedream``: the commands of ``airflow seedream``, on every Airflow."""

from airflow_provider_seedream.cli.definition import main

main()
