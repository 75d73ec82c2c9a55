"""What a report says of its rows is what the rows say."""

from dataclasses import replace

import numpy as np
import pytest

from dode.metrics import Estimate, Row
from dode.plots.canvas import HUES, MARKERS, looks
from dode.report import page, summary
from dode.solvers.spec import plain_name

SPREAD = np.array([0.9, 1.0, 1.1, 1.0, 0.95, 1.05])


def row(solver, nfe, size, spread=SPREAD, fd=None):
    """A row whose samples lie `size` away, but for a spread that rows share."""
    each = size * spread
    estimates = {"rms": Estimate(float(np.sqrt(np.mean(each**2))), 0.01, each=each)}
    if fd is not None:
        estimates["fd"] = Estimate(fd, parts=fd + 0.01 * np.arange(10))
    return Row(solver, nfe, estimates)


def test_the_headline_is_of_the_middle_number_of_evaluations():
    rows = [row(name, nfe, size) for nfe in (5, 10, 20) for name, size in (("ddim", 2.3 * nfe), ("d-ddim", nfe))]
    assert summary.headline(rows) == "At 10 evaluations d-ddim is 2.3 times nearer to the exact solution than ddim."


def test_the_headline_does_not_flatter():
    worse = [row("unipc-3", 5, 1.0), row("d-unipc-3", 5, 1.5)]
    said = "At 5 evaluations d-unipc-3 is 1.5 times farther from the exact solution than unipc-3."
    assert summary.headline(worse) == said
    noisy = row("d-ddim", 1, 0.98, SPREAD[::-1] ** 3)
    assert "is as near to the exact solution as ddim" in summary.headline([row("ddim", 1, 1.0), noisy])
    assert summary.headline([row("ddim", 1, 1.0), noisy]).startswith("At 1 evaluation d-ddim")


def test_the_headline_tells_a_plain_solver_that_is_nearer():
    rows = [row("ddim", 5, 2.0), row("d-ddim", 5, 1.0), row("unipc-2", 5, 0.8)]
    said = "At 5 evaluations d-ddim is 2.0 times nearer to the exact solution than ddim"
    assert summary.headline(rows) == f"{said}; unipc-2 is nearer still, 0.80 times as far."
    assert summary.headline(rows[:2]) == f"{said}."


def test_without_distilled_solvers_the_headline_is_of_the_nearest():
    rows = [row("ddim", 8, 3.0), row("deis-2", 8, 1.0), row("ipndm", 8, 2.0)]
    said = "At 8 evaluations deis-2 is nearest to the exact solution, 3.0 times nearer than ddim."
    assert summary.headline(rows) == said
    assert summary.headline(rows[:1]).startswith("At 8 evaluations ddim lies 3")


def test_details_name_what_is_not_nearer():
    rows = [row("ddim", 5, 1.0), row("d-ddim", 5, 0.5), row("deis-2", 5, 0.4), row("d-deis-2", 5, 0.6)]
    nearest, counted = summary.details(rows)
    assert nearest.startswith("Nearest at 5: deis-2 (0.4")
    assert counted == (
        "1 of 2 distilled rows are nearer to the exact solution than their plain solver; farther: d-deis-2 at 5."
    )
    noisy = replace(row("ddim:fresh=1", 5, 1.0), stochastic=True)
    assert "Stochastic" in summary.details([noisy])[-1]
    assert not any("Stochastic" in text for text in summary.details([row("heavy-ball:beta=0.4", 5, 1.0)]))


def test_frechet_distances_are_counted_by_two_standard_errors():
    rows = [row("ddim", 5, 1.0, fd=4.0), row("d-ddim", 5, 0.5, fd=3.0)]
    assert summary.verdict(rows[1], rows[0], "fd") == "better"
    assert summary.verdict(rows[0], rows[1], "fd") == "worse"
    assert summary.verdict(rows[0], rows[0], "fd") == "not worse"
    assert summary.verdict(rows[0], row("ddim", 5, 1.0), "fd") == ""
    said = "Fréchet distance: 1 of 1 are not worse than their plain solver, 1 of them better."
    assert summary.details(rows)[-1] == said


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [(0.17812, 0.0104, "0.178 ± 0.010"), (4.7088, 0.364, "4.71 ± 0.36"), (1234.5, 56.7, "1234 ± 57"), (0.5, 0, "0.5")],
)
def test_values_have_two_digits_of_their_error(value, error, said):
    assert page.with_error(value, error).replace("<i>", "").replace("</i>", "") == said


def test_names_break_after_a_colon_and_are_escaped():
    said = page.prose("d-ddim:lam=0.5 <b> at 5: ddim")
    assert said == '<span class="name">d-ddim</span>:<wbr>lam=0.5 &lt;b&gt; at 5: ddim'


def test_no_two_solvers_look_alike():
    names = ["ddim", "d-ddim", "d-ddim:formulation=sep", "d-ddim@a.json", "auto", "auto@a.json"]
    names += [
        f"{d}{name}" for name in ("edm", "deis-2", "ipndm", "unipc-2", "dpm-solver-3", "pndm") for d in ("", "d-")
    ]
    made = looks(names)
    assert len(set(made.values())) == len(names)
    assert made["ddim"][:2] == made["d-ddim"][:2]
    assert made["ddim"].plain
    assert not any(made[name].plain for name in ("d-ddim", "auto", "auto@a.json", "d-ddim@a.json"))
    assert len({(look.hue, look.marker) for look in made.values()}) == 11  # one for each family and further form
    assert max(look.hue for look in made.values()) < len(HUES)
    assert {look.marker for look in made.values()} <= MARKERS.keys()
    assert looks(["d-ddim", "ddim"])["ddim"][:2] == made["ddim"][:2]  # whichever comes first


def test_plain_names():
    for name in ("ddim", "d-ddim", "d-ddim:formulation=sep", "d-ddim@some/file.json", "d-ddim:lam=0.5:carry=false"):
        assert plain_name(name) == "ddim"
    assert plain_name("d-dpm-solver-2:inner=time:formulation=2") == "dpm-solver-2:inner=time"


def contrast(one, two):
    """Of two colours, from 1 to 21: WCAG 2.2."""

    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    high, low = sorted((light(one), light(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_hues_are_readable_on_both_papers():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for hue in HUES:
        assert contrast(hue.light, "#f7f6f3") >= 4.5
        assert contrast(hue.dark, "#1c1f25") >= 4.5
