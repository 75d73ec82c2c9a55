"""A plan for states in another scale, z = c·x with a factor c at every node.

Tools scale states differently: DDPM's x = α·x₀ + σ·ε has α² + σ² = 1; k-diffusion's is x/α, with noise level σ/α; flow
models' is x/(α + σ). Data, noise and flow outputs do not depend on that scale: only the coefficients of states change.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dode.errors import DodeError
from dode.plan import Plan
from dode.schedule import Node

Scale = Callable[[Node], Node]  # a node → another tool's node of the same log-SNR
OTHER_TIMES = (
    "this plan tells the network other noise levels than those of its states, which another tool's wrapping of the "
    "network cannot follow; find one with free_times=False, --no-free-times"
)


def exploding(node: Node) -> Node:
    """k-diffusion's node: α = 1, and the noise level σ/α is the time."""
    if node.alpha == 0:
        raise DodeError(
            f"at t = {node.t:g}, alpha = 0, the noise level sigma/alpha is infinite; use flow, where it is 1, "
            "or a plan that starts beside that node"
        )
    level = node.sigma / node.alpha
    return Node(level, 1.0, level)


def straight(node: Node) -> Node:
    """The node of a flow model: α = 1 − σ, and the noise level σ/(α + σ) is the time."""
    level = node.sigma / (node.alpha + node.sigma)
    return Node(level, node.alpha / (node.alpha + node.sigma), level)


def rescaled(plan: Plan, scale: Scale) -> Plan:
    """The plan for states in another tool's scale, on that tool's nodes.

    Raises DodeError for outputs that depend on the scale (v, score), for α = 0 where c would be infinite, and for
    conditioning times that the tool cannot pass on.
    """
    if plan.kind not in ("noise", "data", "flow"):
        raise DodeError(f"{plan.kind} outputs depend on the scale of the state; make the plan in data or noise outputs")
    if not followed(plan, scale):
        raise DodeError(OTHER_TIMES)
    nodes = tuple(scale(node) for node in plan.nodes)
    if plan.conditioning_shifts is not None:
        nodes = tuple(new._replace(t=old.t) for old, new in zip(plan.nodes, nodes, strict=True))
    factors = [_factor(old, new) for old, new in zip(plan.nodes, nodes, strict=True)]
    after = np.array(factors[1:])
    before = dict(zip(plan.nodes, factors, strict=True))
    origins = np.array([before[origin] for origin in plan.origins()])
    return replace(
        plan,
        nodes=nodes,
        start=plan.start * after / origins,
        use=plan.use * after[:, None],
        noise=np.array(plan.noise_scales) * np.array(factors),
    )


def followed(plan: Plan, scale: Scale) -> bool:
    """Whether another tool with this state scaling passes the network the plan's own conditioning times."""
    return plan.conditioning_shifts is None or (
        scale is exploding
        and all(
            node.alpha == 1 and math.isclose(node.t, node.sigma * math.exp(-shift), rel_tol=1e-6)
            for node, shift in zip(plan.nodes[:-1], plan.conditioning_shifts, strict=True)
        )
    )


def _factor(old: Node, new: Node) -> float:
    return new.sigma / old.sigma if old.sigma > old.alpha else new.alpha / old.alpha
