"""LaunchDarkly's protocols on the side of the server: endpoints, messages, streams."""
