"""Paying once: the claim, the POST, the record, the budget.

A record is created exclusively before the POST. A record that cannot be read raises an error; it does not
count as missing. Never imports landing or a task.
"""
