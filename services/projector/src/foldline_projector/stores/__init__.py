"""Where read models live: one port, one module a store."""
