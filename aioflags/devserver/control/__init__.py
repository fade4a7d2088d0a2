"""The control API of the development server, and its page."""
