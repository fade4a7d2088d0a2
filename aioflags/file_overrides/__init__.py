"""File overrides: local files whose flags and segments count instead of the service's, while a client runs."""
