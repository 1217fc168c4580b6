"""Service discovery, health checks and a replicated store that speak Consul's interfaces."""

__version__ = "0.1.0"
