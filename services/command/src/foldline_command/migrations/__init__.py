"""Alembic's environment and revisions of the write database."""
