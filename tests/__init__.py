"""Tests; they mirror the package."""

from hypothesis import HealthCheck, settings

# A slow or busy machine is no fault of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
