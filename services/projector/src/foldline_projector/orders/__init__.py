"""The four folds of orders: pure functions, found by entry point."""
