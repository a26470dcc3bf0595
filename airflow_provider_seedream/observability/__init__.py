"""What others hear of our work: metrics, spans, asset events, lineage.

Nothing here decides anything, and no link of the API or key passes through. Never imports a hook.
"""
