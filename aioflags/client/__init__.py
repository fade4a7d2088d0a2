"""The client for LaunchDarkly: how it is assembled, and what only this client has."""
