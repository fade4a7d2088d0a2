"""Floor 4: what happened, on its way out. Recording never waits; shaping, posting and giving up happen on the event loop."""
