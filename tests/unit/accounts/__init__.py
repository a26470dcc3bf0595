"""Tests of the room accounts: the statement of a wallet, and proofs by it."""
