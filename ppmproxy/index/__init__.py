"""The URL map between client and upstream, in requests and in index pages."""
