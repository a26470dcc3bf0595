"""A deterministic simulation: the provider's real code in nights that one seed decides. How to read one:
CONTRIBUTING.md.
"""
