"""Auth and HTTP: the hook for workers, the status client for triggers, downloads of result links.

The key goes to the API's host only, and a paid POST is sent at most once. Never imports the ledger or a
trigger, and of the storage only the reading of URIs.
"""
