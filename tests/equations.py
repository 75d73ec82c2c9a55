"""The paper's equations, transcribed literally: a second implementation, slow and plain, that the plans must equal.

x is a tensor, nodes are (t, alpha, sigma), net(x, node) returns the output that the equation speaks of, and lam is the
list of λ in the order of the network evaluations (all zero: the plain solver).
"""


def d_ddim_noise(net, nodes, x, lam):
    """Equations (3)–(5); at T, O_T = d_T + λ_T·(d_T − x_T/σ_T)."""
    before = x / nodes[0].sigma
    for k in range(len(nodes) - 1):
        s, t = nodes[k], nodes[k + 1]
        d = net(x, s)
        o = d + lam[k] * (d - before)
        x = t.alpha * ((x - s.sigma * o) / s.alpha) + t.sigma * o
        before = d
    return x


def d_ddim_data(net, nodes, x, lam):
    """Equations (23)–(27), for α = 1.  The paper's (24) has σ_t − σ_{t−1} with s as the direction to the data."""
    before = None
    for k in range(len(nodes) - 1):
        sigma, after = nodes[k].sigma, nodes[k + 1].sigma
        d = net(x, nodes[k])
        o = d if before is None else d + lam[k] * (d - before)
        slope = (o - x) / sigma
        x = x + (sigma - after) * slope
        before = d
    return x


def d_edm(net, nodes, x, lam):
    """Equations (28)–(37), for α = 1, with one λ per evaluation; the last step to σ = 0 has one stage."""
    before, j = None, 0
    for k in range(len(nodes) - 1):
        sigma, after = nodes[k].sigma, nodes[k + 1].sigma
        d = net(x, nodes[k])
        o = d if before is None else d + lam[j] * (d - before)  # (32)
        slope = (o - x) / sigma  # (34)
        y = x + (sigma - after) * slope  # (35)
        j, before = j + 1, d
        if after == 0:
            return y
        d_after = net(y, nodes[k + 1])
        o_after = d_after + lam[j] * (d_after - d)  # (33)
        slope_after = (o_after - y) / after  # (36)
        x = x + (sigma - after) * (slope / 2 + slope_after / 2)  # (37)
        j, before = j + 1, d_after
    return x


def d_edm_verbatim(net, nodes, x, lam):
    """The same with (32)–(33) as they are printed: one λ for both stages of a step."""
    return d_edm(net, nodes, x, [value for value in lam for _ in range(2)])


def d_deis_0_verbatim(net, nodes, x, lam):
    """Equations (19)–(22) for r = 0, P unnormalised as (21) prints it; λ = 0 at the first evaluation."""
    before = None
    for k in range(len(nodes) - 1):
        s, t = nodes[k], nodes[k + 1]
        p = (t.sigma - t.alpha / s.alpha * s.sigma) * net(x, s)
        o = p if before is None else p + lam[k] * (p - before)
        x = t.alpha / s.alpha * x + o
        before = p
    return x


def d_ddim_published(net, nodes, x, lam):
    """The published code's convention: λ·(d_t − d_{t+1}) is added to the state, unscaled."""
    before = x / nodes[0].sigma
    for k in range(len(nodes) - 1):
        s, t = nodes[k], nodes[k + 1]
        d = net(x, s)
        x = t.alpha * ((x - s.sigma * d) / s.alpha) + t.sigma * d + lam[k] * (d - before)
        before = d
    return x
