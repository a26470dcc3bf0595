"""The commands of ``airflow seedream``: tables for people, JSON for scripts.

Only ``land`` and ``resolve`` write; no command sends a paid request. Airflow's command line loads the table
of commands, so that imports next to nothing.
"""
