"""A table of requests in one task: its rows are checked, submitted within budget and rate limit, landed, and
listed in a table of results.

Every row that was paid for has a line in the results. Never imports an operator or a sensor: the operator's
arguments come in as a value (:class:`~airflow_provider_seedream.batch.asked.AskedBatch`).
"""
