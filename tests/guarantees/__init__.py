"""The guarantees of the docs, one file each: a fault at the server, then what the server counted and what
Airflow says.
"""
