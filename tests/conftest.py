"""Property tests are judged by what they find, never by the clock."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("bionet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bionet")

# Two test processes share two cores: compiled loops of one thread each do not wait for one another.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
