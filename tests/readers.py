"""Every file that dode reads: a small good one, how it may be changed, and all that is done with what was read.

A new reader is one more line of READERS; paper/tests/paper_readers.py has those of the paper.
"""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import mutants
import numpy as np
import torch
from problems import SCHEDULES, gaussian

from dode import calibration, json_schema, samplers, sigma_tables
from dode.cli import files, output, plot
from dode.distillation.api import distill
from dode.errors import DodeError
from dode.integrations.sigmas import known
from dode.metrics import reference_stats, results
from dode.metrics.estimates import Estimate, Row
from dode.output_cache import OutputCache

Change = Callable[[Random, bytes], bytes]


class Reader(NamedTuple):
    """One kind of file."""

    name: str  # of the file: what it ends with counts
    make: Callable[[Path], object]  # writes a good one there
    change: Change
    read: Callable[[Path], object]  # DodeError, or something that is whole


def model():
    return replace(gaussian().model(SCHEDULES["discrete"], "noise"), name="gaussian")


# --- JSON ------------------------------------------------------------------------------------------------------


def calibrated(path):
    made = model()
    fitted = [distill(made, "edm", nfe=3, samples=4, scale=2), distill(made, "ddim:formulation=sep", nfe=2, samples=4)]
    samplers.save(path, *fitted, samplers.sampler(made, "dpm-solver++2m", nfe=4))


def signed(chance, content):
    """A changed calibration, as a rule with the checksum of its changed content, as one who means it would write."""
    made = mutants.of_json(chance, content)
    if chance.random() < 0.8:
        with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
            parsed = json.loads(made)
            made = json.dumps(parsed | {"checksum": calibration.checksum(parsed)}).encode()
    return made


def read_calibration(path):
    """As the library, `dode inspect`, `dode plot` and the adapters to other tools read it."""
    for read in (lambda: files.inspect(path), lambda: plot.file_plans(path), lambda: known(path)):
        with contextlib.redirect_stdout(io.StringIO()):
            read()
    for one in samplers.load_all(path, model()):
        one.sample(1)


def compared(path):
    estimates = {"rms": Estimate(0.5, 0.1, each=np.array([0.4, 0.6])), "fd": Estimate(3.0, 0.1, np.arange(10.0))}
    row = Row("d-ddim", 5, estimates, seconds=1.0)
    rows = {results.key("d-ddim", 5, 1.0, seed): replace(row, seeds=(seed,)) for seed in (0, 1)}
    found = results.Results(path, {"name": "gaussian", "paired": 2}, rows)
    found.plans = {"d-ddim": samplers.content(samplers.sampler(model(), "ddim", nfe=2))}
    found.write()


def read_results(path):
    """As `dode compare` goes on with it and `dode plot` shows it."""
    found = results.opened(path, {"name": "gaussian", "paired": 2})
    with contextlib.redirect_stdout(io.StringIO()):
        rows, _ = plot.file_rows(path, 1.0)
        output.print_rows(rows, "")
        output.print_estimates(rows, "features")
    for key in found.plans:
        calibration.checked(found.plans[key], key)
    results.write_csv(path.with_suffix(".csv"), list(found.rows.values()))


def listed(path):
    numbers = sigma_tables.Listed("mine", "sigmas", {3: (80.0, 5.0, 0.5, 0.0), 2: (80.0, 1.0, 0.0)}, "a net", "a page")
    path.write_text(json.dumps(sigma_tables.as_json(numbers)))


def read_list(path):
    """As `dode export` shows it and `--grid` places it."""
    found = sigma_tables.read(str(path))
    for nfe in (2, 3, 7):
        for schedule in ("edm", "discrete"):
            sigma_tables.placed(str(path), SCHEDULES[schedule], nfe)
        sigma_tables.sigmas(found, nfe) if found.unit == "sigmas" else sigma_tables.times(found, nfe)


def read_numbers(path):
    """As `dode import` reads a list that people wrote."""
    return sigma_tables.parsed(files._text(str(path)), "sigmas", "mine")


def configured(path):
    """A scheduler's configuration, with a calibration inside."""
    from dode.diffusers import DODEScheduler

    made = model()
    fitted = distill(made, "ddim", nfe=3, samples=4, scale=2)
    DODEScheduler(method="ddim", calibration=fitted, clip_sample=False).save_config(path.parent)


def signed_config(chance, content):
    """A changed configuration; where its calibration changed, with the checksum that then fits."""
    made = mutants.of_json(chance, content)
    with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError, KeyError):
        parsed = json.loads(made)
        parsed["calibration"]["checksum"] = calibration.checksum(parsed["calibration"])
        made = json.dumps(parsed).encode()
    return made


def read_config(path):
    """As diffusers hands it to the scheduler of a pipeline."""
    from dode.diffusers import DODEScheduler

    config = json_schema.read(path)
    if isinstance(config, dict):
        for inside in (config.get("calibration"), None):
            DODEScheduler.from_config({**config, "calibration": inside}).set_timesteps(3)


# --- weights and arrays ----------------------------------------------------------------------------------------


def measured(path):
    covariance = np.eye(3) + 0.1
    features = np.random.default_rng(0).standard_normal((6, 3))
    images = np.zeros((2, 4, 4, 1), np.uint8)
    arrays = {"mu": np.arange(3.0), "sigma": covariance, "mu_s": np.arange(3.0), "sigma_s": covariance}
    np.savez(path, **arrays, feats=features, arr_0=images)


def read_statistics(path):
    found = reference_stats.read(path, lambda images: images.float().flatten(1)[:, :3])
    return found.mark


OUTPUT = torch.arange(6.0).reshape(2, 3)


def remembered(path):
    OutputCache(path.parent)._write("output", OUTPUT)
    place = OutputCache(path.parent)._path("output")
    place.replace(path)
    place.parent.rmdir()


def read_cache(path):
    """As a run that goes on: the output, or none; nothing else may be taken for it."""
    place = OutputCache(path.parent)._path("output")
    place.parent.mkdir()
    path.rename(place)
    found = OutputCache(path.parent)._read("output", OUTPUT)
    place.rename(path)
    place.parent.rmdir()
    if found is None:
        raise DodeError("made anew")
    assert torch.equal(found, OUTPUT)


READERS = {
    "calibration": Reader("c.json", calibrated, signed, read_calibration),
    "results": Reader("r.json", compared, mutants.of_json, read_results),
    "scheduler": Reader("scheduler_config.json", configured, signed_config, read_config),
    "list": Reader("grid.json", listed, mutants.of_json, read_list),
    "numbers": Reader(
        "numbers.txt", lambda path: path.write_text("[80, 5.5,\n1e-1; 0]"), mutants.of_bytes, read_numbers
    ),
    "statistics": Reader("s.npz", measured, mutants.of_zip(mutants.of_numpy), read_statistics),
    "cache": Reader("output.safetensors", remembered, mutants.of_safetensors, read_cache),
}
