"""`ppmproxy doctor`: its checks, each with its fix."""
