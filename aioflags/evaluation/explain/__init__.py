"""Explanations: why a flag has its value."""
