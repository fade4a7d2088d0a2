"""Layer 3: HTTP requests and streams."""
