"""What the integrations with web frameworks share."""
