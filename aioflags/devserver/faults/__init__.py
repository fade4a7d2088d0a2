"""Faults that a test or a person injects into the development server's answers."""
