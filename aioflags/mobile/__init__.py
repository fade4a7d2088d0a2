"""The client for a mobile key: one context at a time, connection modes, and flags that the service evaluates."""
