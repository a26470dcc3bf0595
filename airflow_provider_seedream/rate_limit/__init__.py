"""A share of the API's rate limit: when the next request may be sent, and which one is next.

The clock is an argument; no network. Knows connections by their id only.
"""
