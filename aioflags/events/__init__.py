"""Layer 4: analytics and diagnostic events. Recording never waits; encoding, posting and retrying happen on the event loop."""
