"""Tools for flag files and for connections, used by the command line and the development server."""
