"""The options of a client, checked when they are made."""
