"""Big segments: which of them contain a context, asked of a store."""
