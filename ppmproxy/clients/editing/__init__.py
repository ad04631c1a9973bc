"""Edits of configuration files that keep everything else in them."""
