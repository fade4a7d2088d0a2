"""The client for flagd: its options, its sources, and evaluations that the server makes."""
