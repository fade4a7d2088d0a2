"""The flags and segments that the development server serves: documents, overrides, versions, and the flag file."""
