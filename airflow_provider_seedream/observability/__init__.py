"""Reports to other systems: metrics, spans, asset events, lineage.

It only reports: a failure here does not change or fail a task, and links of the API and the key stay out.
Never imports a hook.
"""
