"""The parts one by one: values, decisions, the ledger, the hook and the trigger, each over what it really
talks to.

A folder is a room of the package; what tests a module at the package root, or the package as a whole, lies
here.
"""
