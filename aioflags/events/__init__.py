"""Layer 4: analytics and diagnostic events. Recording never waits; summing up, posting and retrying happen on the event loop."""
