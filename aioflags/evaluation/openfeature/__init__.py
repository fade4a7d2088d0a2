"""What all services that speak OpenFeature have in common: their errors, the types of values, and the data of a context."""
