"""The analytics events that the development server received, and their validation."""
