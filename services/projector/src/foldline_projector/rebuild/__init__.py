"""Rebuilding read models: a new generation is filled beside the live one, verified, and switched to."""
