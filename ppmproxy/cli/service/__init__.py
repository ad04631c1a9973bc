"""`ppmproxy service`: the proxy as a service of the platform's service manager."""
