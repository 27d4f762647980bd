"""The command side: validates commands, changes aggregates, writes events to the outbox."""
