"""A solver that is not in the catalogue: its equation, one line, and everything else follows.

python examples/own_solver.py
"""

from typing import Any

import dode
from dode.method import Method
from dode.schedule import Node


def extrapolated(x: Any, s: Node, t: Node, net: Any) -> Any:
    """Noise outputs go on in a straight line of log-SNR: D = (1 + r/2)·d_k − r/2·d_{k−1} with r = h_k/h_{k−1}.

    DPM-Solver++ 2M does this with data outputs.
    """
    if not net.past or t.sigma == 0 or s.alpha == 0:  # no output before, or an infinite step: DDIM's
        return net.move(x, net(x, s), s, t)
    half = (t.logsnr - s.logsnr) / (s.logsnr - net.past[0].logsnr) / 2
    return net.move(x, net(x, s, (1 + half, -half)), s, t)


def main(samples: int = 64, nfe: int = 8) -> tuple[float, float]:
    """RMS distance to the exact solution of the solver and of its distilled form."""
    method = Method("2m-noise", extrapolated, kinds=("noise",), stages=1, order=2, about="2M in noise outputs")
    model = dode.bundled("fashion-mixture")
    plain = dode.sampler(model, method, nfe=nfe)
    fitted = dode.distill(model, method, nfe=nfe, samples=samples)  # nothing else is written for this
    print(plain.plan)

    x_T = model.start(range(samples), seed=0)
    exact = model.exact(x_T)
    distances = [float((one.sample(noise=x_T) - exact).square().mean().sqrt()) for one in (plain, fitted)]
    print(f"{nfe} evaluations: {plain.name} {distances[0]:.4f}, {fitted.name} {distances[1]:.4f}")
    return distances[0], distances[1]


if __name__ == "__main__":
    main()
