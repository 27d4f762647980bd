"""The shared language of the rooms: events, codec, topics, tokens, names. Data only, no I/O.

Every room imports this package and none imports another room, so what two rooms must agree on
(the wire, the slice of a key, the physical name of a table) stands here exactly once.
"""
