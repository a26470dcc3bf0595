"""``@task.seedream`` and its kind: a function returns the prompt or the request, an operator pays for it.

A returned prompt is sent as it stands. Holds no engine.
"""
