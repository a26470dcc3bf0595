"""Accounts: sums of ledgers, and the statement that explains a wallet by its records.

Reads records, writes none. Never sends a POST, never imports a task, a batch or the command line.
"""
