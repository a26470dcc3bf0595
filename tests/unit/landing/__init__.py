"""Tests of the room landing: what images in storage hold."""
