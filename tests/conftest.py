"""Property tests are judged by what they find, never by the clock."""

from hypothesis import HealthCheck, settings

settings.register_profile("bionet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bionet")
