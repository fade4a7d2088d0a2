"""The development server's page and its HTTP API."""
