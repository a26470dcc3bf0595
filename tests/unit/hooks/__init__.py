"""Tests of the room hooks: what calls say, to whom they go, and how answers are classified."""
