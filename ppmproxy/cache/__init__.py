"""The cache room: what was fetched before, verified, and served only to a client whose credential may have it now."""
