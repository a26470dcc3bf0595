"""Paying once: the claim, the POST, the record, the budget.

A record is created exclusively before the POST, and a record that cannot be read is an error, never "no
record". Never imports landing or a task.
"""
