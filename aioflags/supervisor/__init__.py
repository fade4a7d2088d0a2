"""Floor 5: who runs, until when, and what to do next. Decisions are pure functions; one loop does what they say."""
