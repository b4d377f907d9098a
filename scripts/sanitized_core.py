"""A pytest plugin: puts the core at GNN_CORE in place of the installed one."""

import importlib.util
import os
import sys

NAME = "sampling.kernels._core"

spec = importlib.util.spec_from_file_location(NAME, os.environ["GNN_CORE"])
assert spec is not None and spec.loader is not None, "GNN_CORE names an extension module"
sys.modules[NAME] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[NAME])
