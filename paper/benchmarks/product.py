"""Makes the modules of the repository's benchmarks/ importable here, which keep results and measure alike."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
