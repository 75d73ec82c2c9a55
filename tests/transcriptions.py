"""The other solvers, transcribed literally from their papers and codes, slow and plain, as in equations.py.

x is a float64 tensor, nodes are (t, alpha, sigma) with logsnr, net(x, node) returns the raw output of the kind that the
function names, and lam is the list of λ in the order of the network evaluations (all zero: the plain solver).
Throughout O_k = D_k + λ_k·(D_k − D_{k−1}); before the first evaluation stands x_T/σ_T (noise) or nothing (data).
The numbers (3) … are the supplement's.
"""

import math
from itertools import pairwise

import torch
from numpy.polynomial.legendre import leggauss


def transfer(x, o, s, t):
    """Equations (3), (5), (7): DDIM's step from s to t with the noise o."""
    return t.alpha * ((x - s.sigma * o) / s.alpha) + t.sigma * o


def transfer_data(x, o, s, t):
    """DDIM's step from s to t with the data o: DPM-Solver++ of order 1."""
    if t.sigma == 0:
        return t.alpha * o
    h = t.logsnr - s.logsnr
    return t.sigma / s.sigma * x - t.alpha * math.expm1(-h) * o


def changed(d, before, value):
    """Equation (38); without an earlier output d itself."""
    return d if before is None else d + value * (d - before)


def d_ipndm(net, nodes, x, lam, order):
    """Equations (6)–(11), noise; order 2, 3 or 4, lower at the first steps."""
    before, d = x / nodes[0].sigma, []
    for k, (s, t) in enumerate(pairwise(nodes)):
        d.append(net(x, s))
        now = min(order, k + 1)
        if now == 1:
            combined = d[-1]  # (8)
        elif now == 2:
            combined = 3 / 2 * d[-1] - 1 / 2 * d[-2]  # (9)
        elif now == 3:
            combined = (23 * d[-1] - 16 * d[-2] + 5 * d[-3]) / 12  # (10)
        else:
            combined = (55 * d[-1] - 59 * d[-2] + 37 * d[-3] - 9 * d[-4]) / 24  # (6)
        x = transfer(x, changed(combined, before, lam[k]), s, t)  # (11), (7)
        before = combined
    return x


def d_pndm(net, nodes, x, lam, middle):
    """Liu et al. 2022, F-PNDM, noise: three pseudo Runge–Kutta steps, then multistep with their e1 as history."""
    before, k, history = x / nodes[0].sigma, 0, []
    for i, (s, t) in enumerate(pairwise(nodes)):
        e1 = net(x, s)
        history.append(e1)
        if i < 3:
            m = middle(s, t)
            o1 = changed(e1, before, lam[k])
            e2 = net(transfer(x, o1, s, m), m)
            o2 = changed(e2, e1, lam[k + 1])
            e3 = net(transfer(x, o2, s, m), m)
            o3 = changed(e3, e2, lam[k + 2])
            e4 = net(transfer(x, o3, s, t), t)
            o4 = changed(e4, e3, lam[k + 3])
            x = transfer(x, (o1 + 2 * o2 + 2 * o3 + o4) / 6, s, t)
            before, k = e4, k + 4
        else:
            combined = (55 * history[-1] - 59 * history[-2] + 37 * history[-3] - 9 * history[-4]) / 24
            x = transfer(x, changed(combined, before, lam[k]), s, t)
            before, k = combined, k + 1
    return x


def d_dpm_solver(net, nodes, orders, x, lam, inner, carry=True):
    """Lu et al. 2022, appendix: singlestep DPM-Solver-1, -2, -3 for any r1, r2; with r1 = 1/2 it is (12)–(18); noise.

    Later stages see O of the earlier ones; with carry=False, D.
    """
    before, k = x / nodes[0].sigma, 0
    for order, (s, t) in zip(orders, pairwise(nodes), strict=True):
        d = net(x, s)
        o = changed(d, before, lam[k])
        first = o if carry else d
        if order == 1:
            x = transfer(x, o, s, t)
            before, k = d, k + 1
            continue
        h = t.logsnr - s.logsnr
        if order == 2:
            m = inner(s, t, 1 / 2)
            r1 = (m.logsnr - s.logsnr) / h
            u = m.alpha / s.alpha * x - m.sigma * math.expm1(r1 * h) * o
            d_m = net(u, m)
            o_m = changed(d_m, d, lam[k + 1])
            phi = math.expm1(h)
            x = t.alpha / s.alpha * x - t.sigma * phi * first - t.sigma / (2 * r1) * phi * (o_m - first)
            before, k = d_m, k + 2
        else:
            m1, m2 = inner(s, t, 1 / 3), inner(s, t, 2 / 3)
            r1, r2 = (m1.logsnr - s.logsnr) / h, (m2.logsnr - s.logsnr) / h
            u1 = m1.alpha / s.alpha * x - m1.sigma * math.expm1(r1 * h) * o
            d1 = net(u1, m1)
            o1 = changed(d1, d, lam[k + 1])
            phi_12, phi_22 = math.expm1(r2 * h), math.expm1(r2 * h) / (r2 * h) - 1
            u2 = m2.alpha / s.alpha * x - m2.sigma * phi_12 * first - m2.sigma * r2 / r1 * phi_22 * (o1 - first)
            d2 = net(u2, m2)
            o2 = changed(d2, d1, lam[k + 2])
            phi_1, phi_2 = math.expm1(h), math.expm1(h) / h - 1
            x = t.alpha / s.alpha * x - t.sigma * phi_1 * first - t.sigma / r2 * phi_2 * (o2 - first)
            before, k = d2, k + 3
    return x


def d_dpm_solver_pp(net, nodes, orders, x, lam, inner):
    """Singlestep DPM-Solver++ 1, 2S, 3S (the official code's algorithm dpmsolver++, type dpmsolver); data."""
    before, k = None, 0
    for order, (s, t) in zip(orders, pairwise(nodes), strict=True):
        d = net(x, s)
        o = changed(d, before, lam[k])
        if order == 1:
            x = transfer_data(x, o, s, t)
            before, k = d, k + 1
            continue
        h = t.logsnr - s.logsnr
        if order == 2:
            m = inner(s, t, 1 / 2)
            r1 = (m.logsnr - s.logsnr) / h
            u = m.sigma / s.sigma * x - m.alpha * math.expm1(-r1 * h) * o
            d_m = net(u, m)
            o_m = changed(d_m, d, lam[k + 1])
            phi = math.expm1(-h)
            x = t.sigma / s.sigma * x - t.alpha * phi * o - 0.5 / r1 * t.alpha * phi * (o_m - o)
            before, k = d_m, k + 2
        else:
            m1, m2 = inner(s, t, 1 / 3), inner(s, t, 2 / 3)
            r1, r2 = (m1.logsnr - s.logsnr) / h, (m2.logsnr - s.logsnr) / h
            u1 = m1.sigma / s.sigma * x - m1.alpha * math.expm1(-r1 * h) * o
            d1 = net(u1, m1)
            o1 = changed(d1, d, lam[k + 1])
            phi_12, phi_22 = math.expm1(-r2 * h), math.expm1(-r2 * h) / (r2 * h) + 1
            u2 = m2.sigma / s.sigma * x - m2.alpha * phi_12 * o + r2 / r1 * m2.alpha * phi_22 * (o1 - o)
            d2 = net(u2, m2)
            o2 = changed(d2, d1, lam[k + 2])
            phi_1, phi_2 = math.expm1(-h), math.expm1(-h) / h + 1
            x = t.sigma / s.sigma * x - t.alpha * phi_1 * o + 1 / r2 * t.alpha * phi_2 * (o2 - o)
            before, k = d2, k + 3
    return x


def d_dpm_solver_pp_multistep(net, nodes, x, lam, order):
    """DPM-Solver++ 2M and 3M (official code, type dpmsolver), data; D_k is what the step of order 1 would be given.

    3M's D2 is h²·x₀''/2, as in the official code; with Taylor's it would be twice that.
    """
    before, m = None, []
    for k, (s, t) in enumerate(pairwise(nodes)):
        m.append(net(x, s))
        now = 1 if t.sigma == 0 else min(order, k + 1)
        combined = m[-1]
        if now >= 2:
            h = t.logsnr - s.logsnr
            r0 = (s.logsnr - nodes[k - 1].logsnr) / h
            d1_0 = 1 / r0 * (m[-1] - m[-2])
        if now == 2:
            combined = m[-1] + 0.5 * d1_0
        if now == 3:
            r1 = (nodes[k - 1].logsnr - nodes[k - 2].logsnr) / h
            d1_1 = 1 / r1 * (m[-2] - m[-3])
            d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1)
            d2 = 1 / (r0 + r1) * (d1_0 - d1_1)
            phi_1 = math.expm1(-h)
            phi_2 = phi_1 / h + 1
            phi_3 = phi_2 / h - 0.5
            combined = m[-1] - phi_2 / phi_1 * d1 + phi_3 / phi_1 * d2  # −α·φ1·m + α·φ2·D1 − α·φ3·D2, over −α·φ1
        x = transfer_data(x, changed(combined, before, lam[k]), s, t)
        before = combined
    return x


def lagrange(j, times, t):
    """The polynomial that is 1 at times[j] and 0 at the other times, at t."""
    value = 1.0
    for i, other in enumerate(times):
        if i != j:
            value *= (t - other) / (times[j] - other)
    return value


def integral(f, a, b, knots):
    """∫ f from a to b: 16 Gauss points a piece, cut at the knots and, as f may bend near 0, at high/2, high/4, …"""
    low, high = min(a, b), max(a, b)
    cuts = [*knots, *(high / 2**i for i in range(1, 60))]
    edges = {low, high, *(cut for cut in cuts if low < cut < high)}
    points, weights = leggauss(16)
    total = 0.0
    for left, right in pairwise(sorted(edges)):
        for p, w in zip(points.tolist(), weights.tolist(), strict=True):
            total += (right - left) / 2 * w * f((left + right) / 2 + (right - left) / 2 * p)
    return total if b > a else -total


def deis_weights(nodes, k, r, time_of, knots):
    """C_tj of (19), j = 0 … r or what there is: Zhang & Chen 2023, tAB-DEIS: α_t·∫ L_j(t(ρ)) dρ, ρ = σ/α."""
    s, t = nodes[k], nodes[k + 1]
    a, b = s.sigma / s.alpha, t.sigma / t.alpha
    times = [nodes[k - j].t for j in range(min(r, k) + 1)]
    bases = [lambda rho, j=j: lagrange(j, times, time_of(rho)) for j in range(len(times))]
    return [t.alpha * integral(basis, a, b, knots) for basis in bases]


def d_deis(net, nodes, x, lam, r, time_of, knots=()):
    """Equations (19)–(22), noise, with P_r normalised: D_t = P_r(t)/Σ_j C_tj."""
    before, d = x / nodes[0].sigma, []
    for k, (s, t) in enumerate(pairwise(nodes)):
        d.append(net(x, s))
        weights = deis_weights(nodes, k, r, time_of, knots)
        combined = sum(c * d[k - j] for j, c in enumerate(weights)) / sum(weights)  # (19)
        x = t.alpha / s.alpha * x + sum(weights) * changed(combined, before, lam[k])  # (20), (22)
        before = combined
    return x


def d_deis_verbatim(net, nodes, x, lam, r, time_of, knots=()):
    """Equations (19)–(22) as printed: P_r not normalised; lam[0] has no effect."""
    before, d = None, []
    for k, (s, t) in enumerate(pairwise(nodes)):
        d.append(net(x, s))
        p = sum(c * d[k - j] for j, c in enumerate(deis_weights(nodes, k, r, time_of, knots)))  # (19)
        x = t.alpha / s.alpha * x + changed(p, before, lam[k])  # (21), (22)
        before = p
    return x


def d_gradient_estimation(net, nodes, x, lam, gamma):
    """Permenter & Yuan 2024, noise: ε̄ = γ·ε_k + (1 − γ)·ε_{k−1} in DDIM's step."""
    before, last = x / nodes[0].sigma, None
    for k, (s, t) in enumerate(pairwise(nodes)):
        d = net(x, s)
        combined = d if last is None else gamma * d + (1 - gamma) * last
        x = transfer(x, changed(combined, before, lam[k]), s, t)
        before, last = combined, d
    return x


def unipc(net, nodes, x, order):
    """Zhao et al. 2023, multistep UniPC, B₂(h), data; the official code without lower_order_final.  Plain only."""
    m = [net(x, nodes[0])]
    for k, (s, t) in enumerate(pairwise(nodes)):
        if t.sigma == 0:
            return t.alpha * m[-1]
        now = min(order, k + 1)
        h = t.logsnr - s.logsnr
        # an output at α = 0 is infinitely far back: −1e30 is the limit to the last bit
        rks = [max((nodes[k - i].logsnr - s.logsnr) / h, -1e30) for i in range(1, now)] + [1.0]
        d1s = [(m[-1 - i] - m[-1]) / rks[i - 1] for i in range(1, now)]
        hh = -h
        h_phi_1 = math.expm1(hh)  # also B(h)
        big_r, b, h_phi_k = [], [], h_phi_1 / hh - 1
        for i in range(1, now + 1):
            big_r.append([rk ** (i - 1) for rk in rks])
            b.append(h_phi_k * math.factorial(i) / h_phi_1)
            h_phi_k = h_phi_k / hh - 1 / math.factorial(i + 1)
        big_r, b = torch.tensor(big_r, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
        rhos_p = [0.5] if now == 2 else torch.linalg.solve(big_r[:-1, :-1], b[:-1]).tolist()
        base = t.sigma / s.sigma * x - t.alpha * h_phi_1 * m[-1]
        predicted = base
        for rho, d1 in zip(rhos_p, d1s, strict=True):
            predicted = predicted - t.alpha * h_phi_1 * rho * d1
        if k == len(nodes) - 2:
            return predicted
        m_t = net(predicted, t)
        rhos_c = [0.5] if now == 1 else torch.linalg.solve(big_r, b).tolist()
        x = base
        for rho, d1 in zip(rhos_c, [*d1s, m_t - m[-1]], strict=True):
            x = x - t.alpha * h_phi_1 * rho * d1
        m.append(m_t)
    return x


def la_ddim(net, nodes, x, lam):
    """Zhang et al. 2023, lookahead DDIM, data: x₀ is extrapolated by one λ, the noise is that of x₀ as it was."""
    before = None
    for s, t in pairwise(nodes):
        x0 = net(x, s)
        x = t.alpha * changed(x0, before, lam) + t.sigma * (x - s.alpha * x0) / s.sigma
        before = x0
    return x


def d_ddim_formulation(net, nodes, x, rows):
    """Equations (40)–(43), noise: O_k = Σ_j rows[k][j]·d_j in (5)."""
    d = []
    for row, (s, t) in zip(rows, pairwise(nodes), strict=False):
        d.append(net(x, s))
        x = transfer(x, sum(c * output for c, output in zip(row, d, strict=False)), s, t)
    return x
