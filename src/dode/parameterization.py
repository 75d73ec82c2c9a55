"""What a network predicts: output = p·x₀ + q·ε.  Every conversion is one 2×2 solve."""

from typing import Any, Literal, TypeVar, cast, get_args

from dode.errors import DodeError
from dode.schedule import Node

State = TypeVar("State")  # a tensor, a number or a form of the tracer: what can be scaled and added
Kind = Literal["noise", "data", "v", "flow", "score"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def parts(kind: Kind, node: Node) -> tuple[float, float]:
    """(p, q) with output = p·x₀ + q·ε at this node: v = α·ε − σ·x₀, flow = ε − x₀, score = −ε/σ.

    Raises DodeError for a score at σ = 0.
    """
    if kind == "score":
        if node.sigma == 0:
            raise DodeError(f"a score does not exist at t = {node.t:g}, where sigma = 0")
        return 0.0, -1 / node.sigma
    if kind == "v":
        return -node.sigma, node.alpha
    return {"noise": (0.0, 1.0), "data": (1.0, 0.0), "flow": (-1.0, 1.0)}[kind]


def express(want: tuple[float, float], kind: Kind, node: Node) -> tuple[float, float]:
    """(m, n) with m·x + n·output = want[0]·x₀ + want[1]·ε.

    Raises DodeError where x and the output hold the same information (noise at α = 0, data at σ = 0, …).
    """
    p, q = parts(kind, node)
    determinant = node.alpha * q - node.sigma * p
    if want == (p, q):
        return 0.0, 1.0
    if determinant == 0:
        raise DodeError(
            f"{kind} prediction at t = {node.t:g} (alpha = {node.alpha:g}, sigma = {node.sigma:g}) does not determine "
            "data and noise; "
            + ("no evaluation can stand at sigma = 0" if node.sigma == 0 else "")
            + ("use data or flow prediction where alpha = 0, or start beside that node" if node.alpha == 0 else "")
        )
    return (want[0] * q - want[1] * p) / determinant, (want[1] * node.alpha - want[0] * node.sigma) / determinant


def convert(x: State, output: State, kind: Kind, to: Kind, node: Node) -> State:
    """The output of one kind as another, at the state x."""
    if kind == to:
        return output
    m, n = express(parts(to, node), kind, node)
    converted: State = m * cast(Any, x) + n * cast(Any, output)
    return converted
