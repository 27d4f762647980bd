"""The `foldline` command: finds each room's commands by entry point and imports no room."""
