"""The plugin that Airflow loads into its processes by the entry point ``airflow.plugins``."""
