"""A table of requests worked off in one task: rows judged, submitted within budget and rate, landed, and summed
up in a table of results.

Every row that was paid for has a line in the results. Never imports an operator or a sensor: what was asked
for comes in as a value.
"""
