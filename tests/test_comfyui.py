"""The ComfyUI nodes, run by a stand-in for ComfyUI (tests/stubs) with its names and signatures."""

import asyncio
import importlib.util
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from problems import mixture, relative

ROOT = Path(__file__).parent.parent
STUBS = ("comfy", "comfy_api", "folder_paths", "comfyui_nodes_of_dode")


@pytest.fixture
def comfy(monkeypatch, tmp_path):
    """The stand-in, importable for one test, with its own output folder."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/stubs"))
    import comfy.model_sampling
    import comfy.sample
    import comfy.samplers
    import folder_paths

    monkeypatch.setattr(folder_paths, "folder", str(tmp_path))
    yield comfy
    for name in [name for name in sys.modules if name.split(".")[0] in STUBS]:
        del sys.modules[name]


def folder():
    """comfyui/ as ComfyUI loads it: by its path."""
    spec = importlib.util.spec_from_file_location("comfyui_nodes_of_dode", ROOT / "comfyui/__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Patcher:
    """ComfyUI's MODEL around the mixture; a condition is a shift of x̂₀."""

    def __init__(self, comfy, flow):
        kind = comfy.model_sampling.CONST if flow else comfy.model_sampling.EPS
        self.model = SimpleNamespace(model_sampling=kind(), apply_model=self.apply)
        self.flow, self.calls = flow, []

    def get_model_object(self, name):
        return {"model_sampling": self.model.model_sampling}[name]

    def apply(self, x, sigma, cond):
        from dode.schedule import EDM, Flow, Node

        level = float(sigma[0])
        self.calls.append((level, len(x)))
        node = Node(level, 1 - level if self.flow else 1.0, level)
        model = mixture(torch.float32).model(Flow() if self.flow else EDM(), "data", torch.float32)
        return model.bound("data", None)(x, node) + cond


LATENT = {"samples": torch.zeros(1, 2, 4)}


def node(name):
    """A node of the folder, as its V1 class."""
    from dode.integrations.comfyui.nodes import described, v1

    (one,) = [one for one in described(["karras", "simple"]) if one.name == name]
    return v1(one)()


def fitted(patcher, **changes):
    options = {"cfg": 2.0, "steps": 6, "scheduler": "karras", "method": "ddim", "samples": 12, "batch": 5, "seed": 3}
    options |= {"positive": 0.1, "negative": 0.0, "latent_image": LATENT, "name": "plan"} | changes
    return node("DODECalibrate").execute(model=patcher, **options)


def sampled(comfy, patcher, sampler, sigmas, latent=None, callback=None, seed=9):
    latent = LATENT["samples"].expand(3, 2, 4) if latent is None else latent
    noise = comfy.sample.prepare_noise(latent, seed)
    return comfy.sample.sample_custom(
        patcher, noise, 2.0, sampler, sigmas, 0.1, 0.0, latent, callback=callback, disable_pbar=True, seed=seed
    )


@pytest.mark.parametrize("flow", [False, True])
def test_calibrate_sample_and_image_to_image(comfy, flow, tmp_path):
    patcher = Patcher(comfy, flow)
    sampler, sigmas, path = fitted(patcher)
    assert path == str(tmp_path / "plan.json")
    content = json.loads(Path(path).read_text())
    assert [(entry["nfe"], entry["guidance"]) for entry in content["plans"]] == [(6, 2.0)]
    assert {count for _, count in patcher.calls} <= {1, 5, 2}  # the probe; batches of five; the rest
    assert comfy.utils.ProgressBar.seen[-1][0] == comfy.utils.ProgressBar.seen[-1][1]
    many = torch.linspace(float(sigmas[0]), 0, 800)
    (fine,) = node("DODESampler").execute(calibration="", method="dpm-solver++2m", steps=0, cfg=0.0)
    (plain,) = node("DODESampler").execute(calibration="", method="ddim", steps=0, cfg=0.0)
    exact = sampled(comfy, patcher, fine, many)
    errors = []
    for one in (sampler, plain):
        patcher.calls, seen = [], []
        made = sampled(comfy, patcher, one, sigmas, callback=lambda *at, seen=seen: seen.append(at))
        errors.append(float((made - exact).square().mean((1, 2)).median()))
        assert len(patcher.calls) == 2 * 6  # guidance asks twice
        assert [(at[0], at[3]) for at in seen] == [(i, 6) for i in range(6)]
    assert errors[0] < errors[1]
    (rest,) = node("DODESigmas").execute(model=patcher, calibration="plan.json", steps=0, cfg=0.0, denoise=0.5)
    assert torch.equal(rest, sigmas[3:])
    patcher.calls = []
    clean = torch.full((3, 2, 4), 0.2)
    assert torch.isfinite(sampled(comfy, patcher, sampler, rest, clean)).all()
    assert len(patcher.calls) == 2 * 3


@pytest.mark.parametrize("flow", [False, True])
def test_the_sigmas_are_those_of_the_file(comfy, flow):
    patcher = Patcher(comfy, flow)
    _, sigmas, _ = fitted(patcher, method="edm", steps=5)
    inputs = {"model": patcher, "calibration": "plan.json", "steps": 5, "cfg": 2.0}
    (made,) = node("DODESigmas").execute(**inputs, denoise=1.0)
    assert len(made) == 6
    assert made[0] == sigmas[0]
    assert made.dtype == torch.float32
    (sampler,) = node("DODESampler").execute(calibration="plan.json", method="ddim", steps=5, cfg=2.0)
    assert relative(sampled(comfy, patcher, sampler, made), sampled(comfy, patcher, sampler, sigmas)) < 1e-4
    starts = [node("DODESigmas").execute(**inputs, denoise=part)[0] for part in (0.8, 0.6, 0.4, 0.0)]
    expected = (5, 3, 3, 0) if not flow else (4, 4, 2, 0)
    assert tuple(max(0, len(one) - 1) for one in starts) == expected  # a step is never cut
    with pytest.raises(ValueError, match="denoise must be from 0 to 1; got 2"):
        node("DODESigmas").execute(**inputs, denoise=2.0)
    with pytest.raises(ValueError, match="calibrated for 5 steps; asked for 9"):
        node("DODESigmas").execute(**(inputs | {"steps": 9}), denoise=1.0)
    with pytest.raises(ValueError, match="calibrated for guidance 2; asked for 3"):
        node("DODESigmas").execute(**(inputs | {"cfg": 3.0}), denoise=1.0)


def test_what_is_wrong_is_said_when_the_node_runs(comfy):
    patcher = Patcher(comfy, False)
    with pytest.raises(ValueError, match="no calibration file at"):
        node("DODESampler").execute(calibration="nothing.json", method="ddim", steps=0, cfg=0.0)
    with pytest.raises(ValueError, match=r"must be a plain name; got '\.\./plan'"):
        fitted(patcher, name="../plan")
    fitted(patcher)
    (sampler,) = node("DODESampler").execute(calibration="plan.json", method="ddim", steps=0, cfg=0.0)
    with pytest.raises(ValueError, match="calibrated for NFE 6; given 3 evaluations"):
        sampled(comfy, patcher, sampler, torch.tensor([10.0, 3.0, 1.0, 0.0]))


def test_a_file_for_another_guidance_is_refused_unless_it_is_asked_for(comfy):
    patcher = Patcher(comfy, False)
    sampler, sigmas, _ = fitted(patcher, cfg=3.0)
    with pytest.raises(ValueError, match="calibrated for guidance 3; asked for 2"):
        sampled(comfy, patcher, sampler, sigmas)
    (asked,) = node("DODESampler").execute(calibration="plan.json", method="ddim", steps=0, cfg=3.0)
    assert torch.isfinite(sampled(comfy, patcher, asked, sigmas)).all()


def test_another_scale_of_states_is_not_guessed():
    from dode.integrations.comfyui.sampling import is_flow

    class Odd:
        def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
            return latent_image + 2 * sigma * noise

    with pytest.raises(ValueError, match=r"Odd has states of 1 data and 1 noise at sigma = 0.5; dode knows"):
        is_flow(Odd())


def test_the_folder_has_a_v3_entry_point(comfy):
    module = folder()
    assert not hasattr(module, "NODE_CLASS_MAPPINGS")  # ComfyUI would prefer them
    listed = asyncio.run(asyncio.run(_opened(module)).get_node_list())
    schemas = [one.define_schema() for one in listed]
    assert [schema.node_id for schema in schemas] == ["DODESampler", "DODESigmas", "DODECalibrate"]
    assert [schema.is_output_node for schema in schemas] == [False, False, True]
    made = listed[0].execute(calibration="", method="ddim", steps=0, cfg=0.0)
    assert isinstance(made.args[0], comfy.samplers.KSAMPLER)


async def _opened(module):
    return await module.comfy_entrypoint()


def test_older_comfyui_gets_mappings(comfy, monkeypatch):
    monkeypatch.setitem(sys.modules, "comfy_api", None)
    module = folder()
    assert not hasattr(module, "comfy_entrypoint")
    assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)
    for made in module.NODE_CLASS_MAPPINGS.values():
        assert callable(getattr(made(), made.FUNCTION))
        assert len(made.RETURN_TYPES) == len(made.RETURN_NAMES)
        assert all(isinstance(kind, str | list) for kind, *_ in made.INPUT_TYPES()["required"].values())


def test_the_example_workflow_fits_the_nodes(comfy):
    from dode.integrations.comfyui.nodes import described

    known = {one.name: {put.name for put in one.inputs} for one in described(["karras", "simple"])}
    workflow = json.loads((ROOT / "comfyui/workflow.json").read_text())
    used = {one["class_type"] for one in workflow.values()} & set(known)
    assert used == {"DODECalibrate"}
    for one in workflow.values():
        if one["class_type"] in known:
            assert set(one["inputs"]) == known[one["class_type"]]
        assert all(value[0] in workflow for value in one["inputs"].values() if isinstance(value, list))


def test_the_example_samples(comfy, tmp_path, capsys):
    main = runpy.run_path(str(ROOT / "examples/comfyui_nodes.py"))["main"]
    made = main(Patcher(comfy, False), 0.1, 0.0, torch.zeros(3, 2, 4), steps=4, samples=3)
    assert made.shape == (3, 2, 4)
    assert str(tmp_path / "example-4.json") in capsys.readouterr().out
