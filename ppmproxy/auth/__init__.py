"""What a token is, where it may go, and how it is kept out of everything else; no I/O."""
