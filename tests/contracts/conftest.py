"""How many examples the contract suites try; fewer where every one is slow."""

import os

from hypothesis import settings

settings.register_profile(
    "contracts", max_examples=int(os.environ.get("GNN_TEST_EXAMPLES", "60")), deadline=None
)
settings.load_profile("contracts")
