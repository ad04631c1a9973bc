"""The local paths that no mount has: the proxy's own pages, and files of other hosts."""

OWN_PREFIX = "/-/"
FILES_PREFIX = "/-/files/"
