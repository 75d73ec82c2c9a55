"""The paper's own numbers: FID on CIFAR-10 with the DDPM network, 50,000 samples, mean of three runs."""

COUNTS = (10, 25, 50)
TABLE1 = {
    "ddim": (18.85, 9.79, 7.17),
    "d": (8.67, 8.18, 6.55),
    "2": (18.75, 9.83, 7.21),
    "sep": (79.21, 26.40, 11.50),
    "all": (179.67, 36.65, 18.48),
}
TABLE2A = {5: (9.68, 8.20, 6.52), 10: (8.83, 8.09, 6.55), 20: (8.52, 8.01, 6.50), 30: (8.41, 7.87, 6.50)}
SPREAD2A = {5: (0.10, 0.06, 0.02), 10: (0.10, 0.03, 0.09), 20: (0.04, 0.03, 0.01), 30: (0.05, 0.05, 0.01)}
TABLE2B = {5: (9.33, 7.75, 6.64), 10: (8.83, 7.79, 6.55), 50: (8.03, 7.69, 6.58), 100: (8.22, 7.68, 6.50)}
SPREAD2B = {5: (0.66, 0.13, 0.09), 10: (0.58, 0.09, 0.07), 50: (0.08, 0.08, 0.05), 100: (0.10, 0.03, 0.09)}
TABLE3 = {
    "ddim": (18.85, 9.79, 7.17),
    "d-ddim": (8.67, 8.18, 6.55),
    "fixed": (11.45, 7.00, 5.27),
    "la": (15.24, 8.57, 6.29),
}
LAM = {"fixed": 0.5, "la": 0.1}  # of table 3


def said(row: tuple[float, ...], nfe: int) -> str:
    """What the paper has at this number of evaluations; empty where it has nothing."""
    return f"{row[COUNTS.index(nfe)]:.2f}" if nfe in COUNTS else ""


def with_spread(row: tuple[float, ...], spread: tuple[float, ...], nfe: int) -> str:
    """The same with the standard deviation of its three runs."""
    return f"{said(row, nfe)} ± {spread[COUNTS.index(nfe)]:.2f}" if nfe in COUNTS else ""
