"""Paying once: the claim, the POST, the record, the budget. And the statement that explains the wallet by the records.

A record is created exclusively before the POST. A record that cannot be read raises an error; it does not count as missing.
Never imports landing or a task.
"""
