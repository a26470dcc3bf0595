"""Tests of the room rate_limit: who may call the API next."""
