"""Plots hold the numbers that they are given, as PNG and as SVG."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, gaussian_model

import dode
from dode import plots, trajectories
from dode.metrics import Estimate, Row
from dode.timesteps import grid

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def model():
    return dode.bundled("fashion-mixture")


@pytest.fixture(scope="module")
def x_T(model):
    return model.start(range(6), 0)


@pytest.fixture(scope="module")
def exact(model, x_T):
    return trajectories.exact_track(model, x_T)


@pytest.fixture(scope="module")
def fitted(model):
    return dode.distill(model, "ddim", nfe=4, samples=6, scale=4)


def words(path):
    """Every piece of text of an SVG."""
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())]


def rows(fd):
    made = [("ddim", 5, 0.2), ("ddim", 10, 0.1), ("d-ddim", 5, 0.1), ("d-ddim", 10, 0.05)]
    more = {} if fd is None else {"fd": Estimate(fd, 0.1)}
    return [Row(name, nfe, {"rms": Estimate(rms, 0.1 * rms), **more}) for name, nfe, rms in made]


def test_a_track_is_the_run_itself(model, x_T):
    one = dode.sampler(model, "dpm-solver-2", nfe=5)
    seen = []
    track = trajectories.track(one, x_T, (3, 70), tick=seen.append)
    assert sum(seen) == 5 == trajectories.calls([one])
    assert torch.equal(track.end, one.sample(noise=x_T))
    assert track.times.tolist() == [node.t for node in one.plan.nodes]
    size = np.hypot(one.plan.nodes[0].alpha, one.plan.nodes[0].sigma)
    first = x_T.double().flatten(1) / size
    assert track.norms[0] == pytest.approx(float(first.square().mean().sqrt()), rel=1e-12)
    assert track.watched[0] == pytest.approx(first[:, [3, 70]].numpy(), rel=1e-12)
    assert track.watched.shape == (6, 6, 2)
    assert track.norms[-1] == pytest.approx(float(track.end.double().square().mean().sqrt()), rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_exact_track_is_the_exact_path(name):
    """A Gaussian's path is known at every time."""
    model = gaussian_model(name)
    x_T = model.start(range(3), 0)
    track, pixels = trajectories.exact_track(model, x_T)
    assert track.times[0] == model.schedule.t_max
    assert track.times[-1] == model.schedule.t_end
    assert len(track.times) == trajectories.SHOWN + 1
    assert len(set(pixels)) == 2
    for t, norm, seen in zip(*track[:3], strict=True):
        node = model.schedule.node(t)
        there = gaussian().flow(x_T, model.schedule.node(model.schedule.t_max), node) / np.hypot(node.alpha, node.sigma)
        assert norm == pytest.approx(float(there.square().mean().sqrt()), rel=2 * trajectories.RTOL)
        assert seen == pytest.approx(there.flatten(1)[:, pixels].numpy(), abs=4 * trajectories.RTOL)
    assert (track.end - model.solution(model, x_T, None)).abs().max() < 4 * trajectories.RTOL


def test_watched_pixels_differ_between_samples_and_from_each_other():
    drawn = torch.randn(200, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    drawn[:, 0, 0, 1] *= 3
    drawn[:, 0, 1, 0] = 2 * drawn[:, 0, 0, 1] / 3 + 0.01 * drawn[:, 0, 1, 0]  # large, and a copy
    first, second = trajectories.watched(drawn)
    assert first == 1
    assert second in (0, 3)
    with pytest.raises(ValueError, match="has one"):
        trajectories.watched(torch.zeros(3, 1))


def test_curves_have_a_line_for_each_solver(tmp_path):
    plots.errors(rows(None), tmp_path / "e.svg", "title & more")
    said = words(tmp_path / "e.svg")
    for text in ("ddim", "d-ddim", "5", "10", "network evaluations", "title &amp; more"):
        assert text in said
    plots.frechet(rows(2.0), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:8] == PNG
    with pytest.raises(ValueError, match="no Fréchet distance"):
        plots.frechet(rows(None), tmp_path / "g.png")
    assert not (tmp_path / "g.png").exists()


def test_a_tableau_has_every_coefficient(fitted, tmp_path):
    plots.tableau(fitted.plan, tmp_path / "t.svg", "d-ddim, NFE 4")
    said = words(tmp_path / "t.svg")
    for matrix in (fitted.plan.blend, fitted.plan.mix, fitted.plan.use):
        for value in matrix[np.nonzero(matrix)]:
            assert f"{value:.3g}" in said
    assert "x_T" in said
    with pytest.raises(ValueError, match="at most 40 evaluations"):
        plots.tableau(dode.sampler(fitted.model, "ddim", nfe=41).plan, tmp_path / "u.svg")


def test_grids_have_their_names_and_the_clean_end_apart(model, tmp_path):
    named = {name: grid(model.schedule, 5, name).nodes for name in ("karras", "logsnr")}
    plots.grids(named, tmp_path / "g.svg")
    said = words(tmp_path / "g.svg")
    assert {"karras", "logsnr", "σ = 0"} <= set(said)
    open_end = {"t_min": grid(model.schedule, 5, "karras", end="t_min").nodes}
    plots.grids(open_end, tmp_path / "h.svg")
    assert "σ = 0" not in words(tmp_path / "h.svg")


def test_runs_and_lambdas_are_drawn_and_drawn_alike(model, x_T, exact, fitted, tmp_path):
    whole, pixels = exact
    tracks = {one.name: trajectories.track(one, x_T, pixels) for one in (fitted, dode.sampler(model, "edm", nfe=5))}
    for draw in (
        lambda path: plots.norm(tracks, whole, path, trajectories.axis(model)),
        lambda path: plots.pixels(tracks, whole, path, sample=2),
        lambda path: plots.lambdas([fitted], path),
    ):
        draw(tmp_path / "a.svg")
        draw(tmp_path / "b.svg")
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
        assert any("d-ddim" in text for text in words(tmp_path / "a.svg"))
        draw(tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes()[:8] == PNG


def test_lambdas_of_one_solver_on_two_grids_are_told_apart(model, fitted, tmp_path):
    other = dode.distill(model, "ddim", nfe=fitted.nfe, grid="logsnr", samples=10)
    plots.lambdas([fitted, other, other], tmp_path / "l.svg")
    said = words(tmp_path / "l.svg")
    name = f"d-ddim, NFE {fitted.nfe}"
    assert {f"{name}, {fitted.provenance.grid}", f"{name}, logsnr", f"{name}, logsnr (2)"} <= set(said)


def test_lambda_errors_are_none_where_there_is_no_single_one(fitted):
    assert fitted.provenance.lambda_errors(fitted.nfe) == pytest.approx(np.array(fitted.provenance.errors))
    several = replace(fitted, provenance=replace(fitted.provenance, errors=(0.1, (0.1, 0.2), 0.3, 0.4)))
    assert np.isnan(several.provenance.lambda_errors(several.nfe)).tolist() == [False, True, False, False]
    none = replace(fitted, provenance=replace(fitted.provenance, errors=()))
    assert np.isnan(none.provenance.lambda_errors(none.nfe)).all()


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end with \.png or \.svg"):
        plots.errors(rows(None), tmp_path / "e.jpg")
    assert list(tmp_path.iterdir()) == []
