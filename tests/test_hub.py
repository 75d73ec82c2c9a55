"""Calibrations and schedulers go to the hub and come back; the service is played by a folder."""

import json
import re
from pathlib import Path

import huggingface_hub
import pytest
from problems import mixture_model

import dode
from dode import hub, samplers
from dode.diffusers import DODEScheduler


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A hub that keeps repositories as folders."""

    def create_repo(self, repo_id, **more):
        (tmp_path / repo_id).mkdir(parents=True, exist_ok=True)
        return f"hub/{repo_id}"

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id):
        (tmp_path / repo_id / path_in_repo).write_bytes(path_or_fileobj)

    def download(repo_id, filename):
        path = tmp_path / repo_id / filename
        if not path.exists():
            raise OSError(f"{repo_id} has no {filename}")
        return str(path)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_file", upload_file)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return tmp_path


def test_a_calibration_comes_back_as_it_went(service):
    made = dode.distill(mixture_model("discrete"), "ddim", nfe=[3, 4], samples=4, scale=2)
    assert hub.push(made, "me/fast") == "hub/me/fast"
    brought = hub.pull("me/fast")
    assert brought == json.loads(json.dumps(samplers.content(*made.values())))
    nfe, one = next(iter(made.items()))
    assert dode.load(brought, one.model, nfe).plan.nodes == one.plan.nodes
    assert len(samplers.load_all(brought, one.model)) == len(made)
    page = (service / "me/fast/README.md").read_text()
    assert "| 4 | 1 | ddim |" in page
    assert 'hub.pull("me/fast")' in page
    with pytest.raises(OSError, match=r"has no calibration\.json"):
        hub.pull("me/other")


def test_a_repository_of_several_networks(service):
    """As examples/hub_repository lays it out."""
    made = dode.distill(mixture_model("discrete"), "ddim", nfe=3, samples=4, scale=2)
    (service / "me/many/NETWORK").mkdir(parents=True)
    made.save(service / "me/many/NETWORK/calibration.json")
    page = (Path(__file__).parent.parent / "examples/hub_repository/README.md").read_text()
    where = re.search(r'hub\.pull\("OWNER/NAME", "(.*)"\)', page)[1]
    assert hub.pull("me/many", where) == json.loads(json.dumps(samplers.content(made)))


def test_a_damaged_calibration_is_not_pushed(service):
    known = samplers.content(dode.distill(mixture_model("discrete"), "ddim", nfe=3, samples=4, scale=2))
    known["plans"][0]["nfe"] = 5
    with pytest.raises(ValueError, match="was changed after it was written"):
        hub.push(known, "me/fast")
    assert not (service / "me").exists()


def test_a_scheduler_is_pushed_with_its_calibration(service, monkeypatch):
    """diffusers' own push_to_hub saves a folder and uploads it; what it uploads loads again, exactly."""
    made = dode.distill(mixture_model("discrete"), "ddim", nfe=3, samples=4, scale=2)
    scheduler = DODEScheduler(calibration=made)
    taken = {}

    def upload(self, working_dir, repo_id, **more):
        taken[repo_id] = {path.name: path.read_bytes() for path in Path(working_dir).iterdir()}

    module = "diffusers.utils.hub_utils"
    monkeypatch.setattr(f"{module}.create_repo", lambda repo_id, **more: type("Repo", (), {"repo_id": repo_id}))
    monkeypatch.setattr(f"{module}.PushToHubMixin._upload_folder", upload)
    scheduler.push_to_hub("me/scheduler")
    folder = service / "again"
    folder.mkdir()
    for name, content in taken["me/scheduler"].items():
        (folder / name).write_bytes(content)
    again = DODEScheduler.from_pretrained(folder)
    again.set_timesteps(3)
    assert (again.plan.table == made.plan.table).all()
