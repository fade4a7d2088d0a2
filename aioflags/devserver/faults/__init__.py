"""Faults that tests and users inject into the responses of the development server."""
