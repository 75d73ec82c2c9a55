"""Self-attention over pixels, and the three orders in which published weights keep query, key and value."""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

Unpack = Callable[[Tensor, int], Sequence[Tensor]]  # qkv (B, 3C, L), heads → three of (B, heads, C/heads, L)


def interleaved(qkv: Tensor, heads: int) -> Sequence[Tensor]:
    """Head by head, in it channel by channel, in it q, k, v: EDM."""
    parts: Sequence[Tensor] = qkv.unflatten(1, (heads, -1, 3)).unbind(3)
    return parts


def by_head(qkv: Tensor, heads: int) -> Sequence[Tensor]:
    """Head by head, in it all of q, of k, of v: ADM's first order."""
    parts: Sequence[Tensor] = qkv.unflatten(1, (heads, 3, -1)).unbind(2)
    return parts


def by_part(qkv: Tensor, heads: int) -> Sequence[Tensor]:
    """All of q, of k, of v, in each head by head: ADM's new order."""
    parts: Sequence[Tensor] = qkv.unflatten(1, (3, heads, -1)).unbind(1)
    return parts


def attend(qkv: Tensor, heads: int, unpack: Unpack) -> Tensor:
    """softmax(qᵀk/√(C/heads))·v over L positions: (B, 3C, L) → (B, C, L)."""
    q, k, v = (part.transpose(2, 3) for part in unpack(qkv, heads))
    return scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2)
