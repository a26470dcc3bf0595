"""The emulator's own tests: it is the server of every other test, so it is held to the contract here."""
