"""Tests of the room batch: from a row of a table to a row of results."""
