"""OpenFeature's answers, errors and types of values, and the data of a context, for all services that speak OpenFeature."""
