"""Decides when to poll the API again, and what an answer means: wait, done, failed, late or lost.

The clock is an argument: no HTTP, no storage, no Airflow. Triggers and workers decide by the same functions.
"""
