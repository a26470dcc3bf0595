"""From links to files: download, verify, publish, the manifest last; then the outcome into the record.

A half image is never visible under a final name. Never imports Airflow's classes of tasks.
"""
