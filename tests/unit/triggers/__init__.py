"""Tests of the room triggers: what waits in the triggerer."""
