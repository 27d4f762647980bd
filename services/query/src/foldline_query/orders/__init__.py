"""The orders domain of the query side, found by entry point."""
