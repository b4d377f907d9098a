"""What every worker needs, imported once, in the process that workers are forked from.

That process imports and does nothing else: no thread of ours, no open graph, no event loop. So
workers share the memory of all libraries, and start in a moment.
"""

from __future__ import annotations

import gc
import warnings

import service.protocol
import service.server  # noqa: F401 - for the workers

__all__: list[str] = []

# threads of libraries that only wait, as those of OpenBLAS do, know how to be forked
warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
gc.collect()
gc.freeze()
