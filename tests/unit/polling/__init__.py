"""Tests of the room polling: when to ask the API, and what its answers decide."""
