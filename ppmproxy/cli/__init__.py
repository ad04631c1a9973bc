"""The commands: their flags, what they do, and what they print."""
