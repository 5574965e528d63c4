"""Helpers of this folder are imported by name; with pytest's importlib mode their folder has to be named."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
