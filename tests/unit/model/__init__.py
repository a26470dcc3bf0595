"""Tests of the room model: requests, images, facts of the API, and instants."""
