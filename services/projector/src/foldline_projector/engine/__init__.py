"""The engine: consumes, folds and commits; knows nothing about any domain."""
