"""Delegations: the form, the walk, the checks, and a world in network namespaces."""
