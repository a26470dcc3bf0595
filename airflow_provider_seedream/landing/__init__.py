"""From links to files: download, verify, publish, the manifest last; then the outcome into the record.

A file gets its final name only when it is whole. Nothing here submits or pays. Never imports Airflow's
classes of tasks.
"""
