"""HTTP to the Package Manager: connections, TLS, forward proxies, retries, redirects."""
