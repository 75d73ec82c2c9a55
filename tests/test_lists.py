"""Published lists and one's own as grids, and grids as lists."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from problems import SCHEDULES, gaussian, gaussian_model

import dode
from dode import sigma_tables
from dode.schedule import EDM, DiscreteVP
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

STABLE = DiscreteVP.from_betas(np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)  # scaled_linear, SD's


def call(*arguments, capsys=None):
    """A command in this process: its code and what it printed."""
    from dode.cli import app

    code = app([*map(str, arguments)], standalone_mode=False)
    return code or 0, capsys.readouterr().out


@pytest.mark.parametrize("name", sigma_tables.NAMES)
def test_published_lists_fall_and_say_where_they_are_from(name):
    listed = sigma_tables.read(name)
    assert listed.about
    assert "http" in listed.source
    for nfe in listed.lists:
        assert sigma_tables.sigmas(listed, nfe)[:-1] == listed.lists[nfe][:-1]
        assert sigma_tables.sigmas(listed, nfe)[-1] == 0


def test_align_your_steps_is_as_in_diffusers():
    schedules = pytest.importorskip("diffusers.schedulers").AysSchedules
    times = schedules["StableDiffusionTimesteps"]
    grid = sigma_tables.placed("ays-sd15", STABLE, 10)
    assert [node.t for node in grid.nodes] == [*times, -1]
    assert sigma_tables.sigmas(sigma_tables.read("ays-sdxl"), 10)[:10] == pytest.approx(
        schedules["StableDiffusionXLSigmas"][:10], 0.02
    )
    assert [node.t for node in sigma_tables.placed("ays-sdxl", STABLE, 10).nodes][:-1] == schedules[
        "StableDiffusionXLTimesteps"
    ]
    assert sigma_tables.sigmas(sigma_tables.read("ays-svd"), 10)[:10] == tuple(
        schedules["StableDiffusionVideoSigmas"][:10]
    )


@pytest.mark.parametrize("nfe", [1, 4, 7, 20, 40])
def test_between_the_numbers_it_is_log_linear(nfe):
    """numpy's interpolation of log σ over the position, as the authors write it; the end becomes the data."""
    (values,) = sigma_tables.read("ays-sdxl").lists.values()
    known = np.log(values[::-1])
    wanted = np.exp(np.interp(np.linspace(0, 1, nfe + 1), np.linspace(0, 1, 11), known))[::-1]
    made = sigma_tables.sigmas(sigma_tables.read("ays-sdxl"), nfe)
    assert made[:-1] == pytest.approx(wanted[:-1])
    assert made[-1] == 0


def test_of_several_lists_the_nearest_is_interpolated():
    listed = sigma_tables.read("gits-sd")
    assert sigma_tables.nearest(listed, 5) == listed.lists[5]
    assert sigma_tables.nearest(listed, 50) == listed.lists[20]
    assert len(sigma_tables.sigmas(listed, 50)) == 51


@pytest.mark.parametrize("schedule", ["discrete", "vp", "functions", EDM(14.6146412293, 0.03)])
@pytest.mark.parametrize("method", ["ddim", "edm", "dpm-solver++3s", "ipndm"])
def test_every_solver_runs_on_a_list(schedule, method):
    chosen = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    plan, grid = build(METHODS[method], 7, chosen, "noise", "ays-sd15")
    assert plan.nfe == 7
    assert grid.name == "ays-sd15"
    assert plan.nodes[0].sigma / plan.nodes[0].alpha == pytest.approx(14.6146, rel=0.01)
    assert plan.nodes[-1].t == chosen.t_end


def test_end_t_min_stops_at_the_lists_own_end():
    grid = sigma_tables.placed("ays-sd15", SCHEDULES["edm"], 10, "t_min")
    assert grid.nodes[-1].sigma == pytest.approx(0.0291671582)


def test_a_list_is_distilled_on_and_named_in_the_file():
    model = gaussian().model(STABLE, "noise")
    fitted = dode.distill(model, "ddim", nfe=5, samples=10, grid="gits-sd")
    assert fitted.provenance.grid == "gits-sd"
    assert [round(node.sigma / node.alpha, 3) for node in fitted.plan.nodes][1:5] == [2.841, 1.243, 0.596, 0.251]


def test_a_list_for_another_model_is_refused():
    with pytest.raises(ValueError, match=r"ays-svd begins at sigma = 700, .*14\.6"):
        sigma_tables.placed("ays-svd", STABLE, 10)
    with pytest.raises(ValueError, match=r"grid starts at t = 14.6.*start it nearer"):
        dode.sampler(gaussian_model("edm"), "ddim", nfe=5, grid="gits-sd")
    with pytest.raises(ValueError, match=r"gits-sd grid of 900 steps does not move on"):
        sigma_tables.placed("gits-sd", STABLE, 900)


@pytest.mark.parametrize(
    ("text", "unit", "says"),
    [
        ("1, 2, 3", "sigmas", "a list falls"),
        ("3", "sigmas", "a list falls"),
        ("3, nan", "sigmas", "a list falls"),
        ("3, -1", "sigmas", "a list falls"),
        ("3, two", "sigmas", "a list is numbers"),
        ("3, 1", "nodes", "a list is of sigmas or times"),
    ],
)
def test_what_is_no_list_is_refused(text, unit, says):
    with pytest.raises(ValueError, match=says):
        sigma_tables.parsed(text, unit, "mine")


def test_numbers_are_read_as_people_write_them():
    for text in ("14.6, 3.0,0", "[14.6, 3.0, 0]", "14.6\n3\n0\n", "tensor([14.6000,  3.0000,  0.0000])"[6:]):
        assert sigma_tables.parsed(text, "sigmas", "mine").lists == {2: (14.6, 3.0, 0.0)}


def test_a_list_that_ends_at_0_is_interpolated_before_it():
    listed = sigma_tables.parsed("16, 4, 1, 0", "sigmas", "mine")
    assert sigma_tables.sigmas(listed, 5) == pytest.approx((16, 8, 4, 2, 1, 0))
    assert sigma_tables.sigmas(listed, 1) == pytest.approx((16, 0))
    listed = sigma_tables.parsed("999, 500, 100, -1", "times", "mine")
    with pytest.raises(ValueError, match="mine holds times"):
        sigma_tables.sigmas(listed, 3)
    with pytest.raises(ValueError, match="mine has times for NFE 3; between, a model is needed"):
        sigma_tables.times(listed, 4)


def test_import_and_export_there_and_back(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("import", "14.6 6.5 1 0", "-o", "mine.json", capsys=capsys)[0] == 0
    assert json.loads(call("export", "mine.json", "--sigmas", capsys=capsys)[1]) == [14.6, 6.5, 1.0, 0.0]
    (tmp_path / "t.txt").write_text("999\n600\n200\n-1\n")
    call("import", "t.txt", "--times", "-o", "times.json", "--about", "a net", capsys=capsys)
    assert json.loads(call("export", "times.json", "--timesteps", capsys=capsys)[1]) == [999, 600, 200]
    call("import", "gits-sd", "-o", "gits.json", capsys=capsys)
    assert sigma_tables.read("gits.json").lists == sigma_tables.read("gits-sd").lists
    assert "ays-sdxl: Stable Diffusion XL. NFE 10." in call("import", capsys=capsys)[1]
    model = gaussian_model("discrete")
    made = dode.sampler(model, "ddim", nfe=3, grid="times.json")
    assert [node.t for node in made.plan.nodes] == [999, 600, 200, -1]
    assert made.provenance.grid == (999, 600, 200, -1)
    made = dode.sampler(model, "ddim", nfe=5, grid="times.json")
    assert len(made.plan.nodes) == 6
    dode.distill(model, "ddim", nfe=3, samples=5, grid="times.json").save("plan.json")
    assert json.loads(call("export", "plan.json", "--timesteps", capsys=capsys)[1]) == [999, 600, 200]
    sigmas = json.loads(call("export", "plan.json", "--sigmas", capsys=capsys)[1])
    assert sigmas[0] == pytest.approx(math.exp(-model.schedule.node(999).logsnr))
    assert sigmas[-1] == 0


def test_a_list_longer_than_a_files_name_may_be(tmp_path, capsys):
    levels = [80 * 0.8**i for i in range(40)]
    call("import", ", ".join(f"{level:.9g}" for level in levels) + ", 0", "-o", tmp_path / "l.json", capsys=capsys)
    np.testing.assert_allclose(sigma_tables.read(str(tmp_path / "l.json")).lists[40][:-1], levels, rtol=1e-8)


def test_a_plan_that_tells_other_times_is_no_list(tmp_path, capsys):
    """Neither its states' levels, which a network of noise would be told, nor the times that it tells."""
    made = dode.sampler(gaussian_model("discrete"), "ddim", nfe=3)
    told = replace(made, plan=replace(made.plan, conditioning_shifts=np.array((0.1, 0.0, -0.1))))
    dode.save(tmp_path / "told.json", told)
    for unit in ("--sigmas", "--timesteps"):
        with pytest.raises(ValueError, match=r"tells the network other noise levels .* find one with free_times=False"):
            call("export", tmp_path / "told.json", unit, capsys=capsys)


def test_exported_sigmas_of_flow_models_go_from_1_to_0(tmp_path, capsys):
    made = [dode.sampler(gaussian_model("flow"), "edm", nfe=nfe) for nfe in (4, 5)]
    dode.save(tmp_path / "flow.json", *made)
    sigmas = json.loads(call("export", tmp_path / "flow.json", "--sigmas", "--nfe", 5, capsys=capsys)[1])
    assert (sigmas[0], sigmas[-1]) == (1.0, 0.0)
    assert all(a > b for a, b in pairwise(sigmas))  # no inner nodes
    times = json.loads(call("export", tmp_path / "flow.json", "--timesteps", "--nfe", 5, capsys=capsys)[1])
    assert times == pytest.approx(sigmas[:-1])
    with pytest.raises(ValueError, match="holds plans for NFE 4, 5; say which with --nfe"):
        call("export", tmp_path / "flow.json", "--sigmas", capsys=capsys)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "ays-sd15"], "give either --sigmas or --timesteps"),
        (["export", "ays-sd15", "--timesteps"], "ays-sd15 holds sigmas; only a model"),
        (["export", "gits-sd", "--sigmas"], "holds lists for NFE 2, 3,"),
        (["export", "nothing.json", "--sigmas"], "no grid file at nothing.json; .*ays-sd15"),
        (["import", "3,1,0"], "give -o FILE.json"),
        (["import", "3,1,0", "-o", "grid.txt"], r"a grid file ends with \.json"),
        (["import", "1,3", "-o", "grid.json"], "a list falls"),
        (["export", "other.json", "--sigmas"], "other.json is not a grid file of dode"),
        (["export", "broken.json", "--sigmas"], "broken.json is not a whole grid file"),
    ],
)
def test_wrong_commands_say_so(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "broken.json").write_text('{"what": "dode grid"')
    with pytest.raises(ValueError, match=says):
        call(*arguments, capsys=capsys)
