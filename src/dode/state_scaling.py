"""A plan in another scale of the state: z = c·x, with a factor c at every node.

Tools differ in how they scale what they denoise: DDPM's x = α·x₀ + σ·ε with α² + σ² = 1; k-diffusion's x/α, with noise
level σ/α; flow models' x/(α + σ). Data, noise and their difference (flow outputs) do not depend on that scale, so only
the states' coefficients change, and samples agree after the same scaling.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dode.errors import DodeError
from dode.plan import Plan
from dode.schedule import Node

Scale = Callable[[Node], Node]  # a node → the node of the same log-SNR that another tool would have


OTHER_TIMES = (
    "this plan tells the network other noise levels than those of its states, which another tool's wrapping of the "
    "network cannot follow; find one with free_times=False, --no-told"
)


def exploding(node: Node) -> Node:
    """As k-diffusion has it: α = 1, and the noise level σ/α is the time."""
    if node.alpha == 0:
        raise DodeError(
            f"at t = {node.t:g}, alpha = 0, the noise level sigma/alpha is infinite; use flow, where it is 1, "
            "or a plan that starts beside that node"
        )
    level = node.sigma / node.alpha
    return Node(level, 1.0, level)


def straight(node: Node) -> Node:
    """As flow models have it: α = 1 − σ, and the noise level σ/(α + σ) is the time."""
    level = node.sigma / (node.alpha + node.sigma)
    return Node(level, node.alpha / (node.alpha + node.sigma), level)


def rescaled(plan: Plan, scale: Scale) -> Plan:
    """The plan for states scaled by c = σ'/σ, or α'/α, at each node; its nodes are the other tool's.

    Raises ValueError for outputs that depend on the scale (v, score), and for α = 0 where c would be infinite.
    """
    if plan.kind not in ("noise", "data", "flow"):
        raise DodeError(f"{plan.kind} outputs depend on the scale of the state; make the plan in data or noise outputs")
    if not followed(plan, scale):
        raise DodeError(OTHER_TIMES)
    nodes = tuple(scale(node) for node in plan.nodes)
    if plan.told is not None:
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
        noise=np.array(plan.added) * np.array(factors),
    )


def followed(plan: Plan, scale: Scale) -> bool:
    """Does the network hear what the plan tells it, should another tool with states of this scale run the plan?"""
    return plan.told is None or (scale is exploding and _levels(plan))


def _levels(plan: Plan) -> bool:
    """Are the times that the plan tells the network k-diffusion's noise levels?"""
    shifts = np.zeros(plan.nfe) if plan.told is None else plan.told
    return all(
        node.alpha == 1 and math.isclose(node.t, node.sigma * math.exp(-shift), rel_tol=1e-6)
        for node, shift in zip(plan.nodes[:-1], shifts, strict=True)
    )


def _factor(old: Node, new: Node) -> float:
    return new.sigma / old.sigma if old.sigma > old.alpha else new.alpha / old.alpha
