"""Tests of the room ledger: the records of what was paid, and budgets."""
