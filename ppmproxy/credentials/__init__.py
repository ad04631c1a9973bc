"""Where tokens come from, when they are renewed, and how a person signs in."""
