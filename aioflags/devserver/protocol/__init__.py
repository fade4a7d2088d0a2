"""How the development server speaks LaunchDarkly's protocols."""
