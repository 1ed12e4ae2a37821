"""Property tests are judged by what they find, never by the clock.

``BIONET_EXAMPLES=100`` runs every one of them with a hundred times its examples.
"""

import os

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

settings.register_profile("bionet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bionet")

# Two test processes share two cores: compiled loops of one thread each do not wait for one another.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hypothesis has no multiplier of its own: change the settings of each property test, once."""
    times = int(os.environ.get("BIONET_EXAMPLES", "1"))
    properties = {item.obj for item in items if is_hypothesis_test(getattr(item, "obj", None))}
    for test in properties if times > 1 else ():
        own = test._hypothesis_internal_use_settings
        test._hypothesis_internal_use_settings = settings(own, max_examples=times * own.max_examples)
