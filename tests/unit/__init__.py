"""The parts one by one: values, decisions, the ledger, the hook and the trigger, each over what it really talks to."""
