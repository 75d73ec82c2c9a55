"""Calibrations on the Hugging Face hub: a repository of a file, calibration.json, beside its page.

A scheduler with its calibration inside is a repository of its own: `scheduler.push_to_hub("owner/name")`, and
`DODEScheduler.from_pretrained("owner/name")`.
"""

import json
from typing import Any

from dode import calibration, samplers
from dode.calibration import Json

FILE = "calibration.json"


def pull(repository: str, file: str = FILE) -> Json:
    """The calibration of a repository, "owner/name"; from the local cache if it is there.

    file: its path there, for repositories of several networks.  Raises OSError if it cannot be had, and ValueError if
    it is damaged.
    """
    from huggingface_hub import hf_hub_download

    return calibration.read(hf_hub_download(repository, file))


def push(given: Any, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a calibration (a file, its content, or samplers) to "owner/name", made if it is not there; its address.

    Its page is overwritten by `page`; examples/hub_repository is a template for one of your own.  Raises ValueError for
    a damaged calibration, before anything is sent.
    """
    from huggingface_hub import HfApi

    known = samplers.as_content(given)
    api = HfApi(token=token)
    address = str(api.create_repo(repository, exist_ok=True, private=private))
    for name, text in ((FILE, json.dumps(known, indent=1) + "\n"), ("README.md", page(known, repository))):
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo=name, repo_id=repository)
    return address


def page(known: Json, repository: str) -> str:
    """The page of a repository: for which network, with which evaluations, and how to use it."""
    model = known["model"]
    lines = []
    for entry in known["plans"]:
        guidance = "not known" if entry["guidance"] is None else f"{entry['guidance']:g}"
        lines.append(f"| {entry['nfe']} | {guidance} | {entry['provenance']['method']} |")
    table = "\n".join(["| evaluations | guidance | solver |", "| --- | --- | --- |", *lines])
    return f"""---
tags: [dode, diffusion, solver]
---
# Distilled solvers for {model["name"]}

Calibrated with dode for the network {model["fingerprint"]} ({model["prediction"]} prediction, states of shape
{"×".join(map(str, model["shape"]))}), with these numbers of network evaluations:

{table}

```
from dode import hub
from dode.diffusers import attach

attach(pipe, hub.pull("{repository}"))
```
"""
