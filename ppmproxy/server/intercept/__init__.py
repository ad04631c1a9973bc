"""A CONNECT proxy that answers for the Package Manager's own https URLs, for the length of one command."""
