"""kill -9 at any moment of a training: at most the interval since the last checkpoint is lost, the end is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = int(os.environ.get("DODE_KILLS", "5"))


def test_a_killed_training_loses_an_interval_and_ends_with_the_same_bits(tmp_path):
    words = [sys.executable, str(Path(__file__).parent / "killed.py"), str(tmp_path), str(KILLS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300 + 60 * KILLS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert len(told["kills"]) == KILLS
    for code, said, there in told["kills"]:
        assert code == -9
        assert there >= said  # a checkpoint that was once whole is never lost
    assert told["same"]
    assert all(told["same"])
