"""The common part of the tasks: checked template fields, sources of an edit, the wait for a generation, the
place in the queue for the rate limit.

Imported with every DAG, so engines are imported when a task runs. Never imports an operator, a sensor or the
batch.
"""
