"""The triggers that Airflow loads by class path: poll, decide, send one small event.

They only send GETs, so a second copy does no harm. Class paths and stored arguments stay as they are, as
Airflow's database holds them. Never imports storage, ledger or landing.
"""
