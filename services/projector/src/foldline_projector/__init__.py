"""Projectors: fold events into read models, exactly, whatever fails."""
