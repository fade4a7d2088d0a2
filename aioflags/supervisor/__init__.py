"""Decides which data source runs, for how long, and which one is next. Decisions are pure functions; one loop acts on them."""
