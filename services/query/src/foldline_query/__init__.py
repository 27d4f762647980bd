"""The query side: serves the read models and says how fresh each answer is."""
