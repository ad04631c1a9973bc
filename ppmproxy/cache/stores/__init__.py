"""Where blobs are kept besides this machine's own disk: to change how another place is asked, open this room."""
