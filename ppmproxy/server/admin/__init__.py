"""The proxy's own pages below ``/-/``."""
