"""The client: its public methods, how it is assembled, and the fast path of an evaluation."""
