"""Flag documents: JSON and YAML files with flags and segments, and their mistakes."""
