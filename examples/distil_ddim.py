"""Distil DDIM at several numbers of evaluations from one teacher run, look at λ, keep it in a file, use the file.

python examples/distil_ddim.py [fashion]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import dode
from dode.describe import explain
from dode.samplers import content


def main(name: str = "fashion-mixture", samples: int = 100, report: int = 64) -> dict[int, tuple[float, float]]:
    """RMS distance to the exact solution before and after, by the number of evaluations."""
    model = dode.bundled(name)
    fitted = dode.distill(model, "ddim", nfe=[5, 10], samples=samples)  # one teacher serves both
    print(explain(content(*fitted.values())))

    x_T = model.start(range(report), seed=0)  # noise of the test stream: nothing was fitted on it
    exact = model.exact(x_T, rtol=1e-2)
    found = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "d-ddim.json"
        dode.save(path, *fitted.values())
        for nfe in fitted:
            kept = dode.load(path, model, nfe)  # refuses another network, guidance scale or number of evaluations
            plain = dode.sampler(model, "ddim", nfe=nfe)
            before, after = (float((one.sample(noise=x_T) - exact).square().mean().sqrt()) for one in (plain, kept))
            print(f"{nfe} evaluations: DDIM {before:.4f}, D-DDIM {after:.4f}")
            found[nfe] = (before, after)
    return found


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fashion-mixture")
