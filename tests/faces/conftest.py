"""The same world as that of the guarantees: an emulator that keeps the books, a folder, a pair of tasks."""

from __future__ import annotations

from tests.guarantees.conftest import build, connect, deferrable, destination, emulator, folder, tls

__all__ = ["build", "connect", "deferrable", "destination", "emulator", "folder", "tls"]
