"""The triggers that Airflow loads by class path: look, decide, one small event.

They only GET, so two copies of one are harmless; class paths and stored arguments never change. Never import
storage, ledger or landing.
"""
