"""The HTTP API: the lean channel, Klein's routes, one module a /v1 prefix."""
