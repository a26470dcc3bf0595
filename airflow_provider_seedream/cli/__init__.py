"""The commands of ``airflow seedream``: tables for people, JSON for scripts.

Only ``land`` and ``resolve`` change files of the ledger or land images; ``check`` writes files of its own and
deletes them; ``export`` writes the one file that it is told. No command sends a paid request. Airflow's
command line loads the table of commands, so that imports next to nothing.
"""
