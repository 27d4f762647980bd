"""The four stores as the query side sees them: one module a store, read only."""
