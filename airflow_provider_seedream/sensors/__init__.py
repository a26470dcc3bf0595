"""The sensors that users name: they wait, land, or watch the wallet. They submit nothing.

No engine lives here; they never import an operator.
"""
