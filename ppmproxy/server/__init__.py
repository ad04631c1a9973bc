"""The daemon: it answers requests, starts, reloads, ends and reports."""
