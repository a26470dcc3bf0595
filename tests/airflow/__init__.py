"""Running operators under Airflow's own machinery: `runner` in this process, `cluster` with a real
scheduler.
"""
