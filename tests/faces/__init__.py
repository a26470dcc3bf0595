"""How the provider feels from inside Airflow: decorators, retry policy, assets, lineage."""
