"""ppmproxy."""
