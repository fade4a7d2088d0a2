"""Flag documents: JSON and YAML files with flags and segments, and the errors in them."""
