"""Code that the integrations with web frameworks share."""
