"""What our tasks share: checked template fields, sources of an edit, the wait for a generation, the place in the
queue for the API.

Imported with every DAG, so engines are imported when a task runs. Never imports an operator, a sensor or the
batch.
"""
