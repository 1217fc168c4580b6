"""Health checks that run where the service lives."""
