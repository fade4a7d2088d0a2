"""The persistent store of one client: when it is read, and when it is written."""
