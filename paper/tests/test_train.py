"""Training goes on after a kill as if nothing had happened, and its students open wherever a model does."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import conditioned, swapped
from taught import Affine, Gaussian, write_images

import dode
from dode.bundled_models import bundled
from dode.errors import DodeError
from dode_paper.baselines import direct, model_card, packing, student_file, trainer, training
from dode_paper.baselines.data import fashion
from dode_paper.baselines.train_state import Budget, Stage, begin, part
from dode_paper.baselines.trainer import Watch, train
from dode_paper.baselines.training import Reports, Request

ABOUT = {"what": "test"}


class Killed(Exception):
    """What a kill is in these tests."""


def dode_cli(folder, *words):
    code = "from dode.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, timeout=300)


def noisy(trio, rng, done):
    """A loss that needs the random numbers, the slow network, the teacher and how far the stage is."""
    x = torch.from_numpy(rng.standard_normal((8, 1, 4, 4), dtype=np.float32))
    t = torch.full((8,), 2.0)
    wanted = (trio.teacher(x, t, None) + trio.slow(x, t, None) * (1 - done)).detach()
    return (trio.student(x, t, None) - wanted).square().mean()


STAGES = [
    Stage("one", 1.0, lambda net: Affine([1, 2]), noisy, 2),
    Stage("two", 3.0, lambda net: net, noisy, 3, rate=0.1),
]


def trained(path, steps=40, **watch):
    return train(STAGES, Gaussian(), Budget(steps=steps), path, bfloat16=False, about=ABOUT, watch=Watch(**watch))


@pytest.mark.parametrize("deaths", [(5,), (10,), (25,), (3, 11, 12, 39)])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, deaths):
    """Killed in the first stage, at its end, in the second, and again and again; checkpoints after every third step."""
    whole = trained(tmp_path / "whole.pt")
    ticks = iter(range(10**6))
    for death in deaths:

        def tell(run, loss, done, death=death):
            if run.steps == death:
                raise Killed

        with pytest.raises(Killed):
            trained(tmp_path / "part.pt", tell=tell, every=3, clock=lambda: float(next(ticks)))
    again = trained(tmp_path / "part.pt")
    assert (again.steps, again.calls, again.curve) == (whole.steps, whole.calls, whole.curve) == (40, 110, again.curve)
    for name in ("student", "slow", "average"):
        ours, theirs = getattr(again, name).state_dict(), getattr(whole, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert float(whole.student.a.abs().max()) > 0.001


def test_other_seeds_give_other_weights(tmp_path):
    ends = [
        train(STAGES, Gaussian(), Budget(steps=8), tmp_path / f"{seed}.pt", seed=seed, about=ABOUT, watch=Watch())
        for seed in (0, 1)
    ]
    assert not torch.equal(ends[0].student.a, ends[1].student.a)


def test_a_budget_in_minutes_ends_on_time(tmp_path):
    """A clock that moves 10 s at every look: two minutes are twelve steps, a quarter of them in the first stage."""
    ticks, seen = iter(range(10**6)), []
    run = train(
        STAGES,
        Gaussian(),
        Budget(minutes=2),
        tmp_path / "c.pt",
        about=ABOUT,
        watch=Watch(tell=lambda run, loss, done: seen.append(run.stage), clock=lambda: 10.0 * next(ticks), every=10**6),
    )
    assert seen == [0] * 3 + [1] * 9
    assert run.seconds == 120


def test_the_part_of_a_stage():
    run = begin(STAGES, 1, Gaussian())
    run.step, run.seconds = 15, 60.0
    assert part(STAGES, run, Budget(steps=40)) == 0.5
    assert part(STAGES, run, Budget(minutes=2)) == pytest.approx((0.5 - 0.25) / 0.75)


def test_the_teacher_never_moves_and_the_averages_follow():
    second = begin(STAGES, 1, Affine([1, 2]))
    second.teacher.a.data.fill_(0.3)  # that there is something to learn
    before, start = second.teacher.a.clone(), second.student.a.clone()
    trainer.advance(STAGES[1], second, 0.0, 0, False)
    assert torch.equal(second.teacher.a, before)
    assert not torch.equal(second.student.a, start)
    one = begin(STAGES, 0, Gaussian())
    trainer.advance(STAGES[0], one, 0.0, 0, False)
    decay = 1 / 11
    torch.testing.assert_close(one.average.a, (1 - decay) * one.student.a)
    torch.testing.assert_close(one.slow.a, 0.05 * one.student.a)
    assert float(one.teacher.unused) == 1


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "in minutes or in steps"),
        ({"minutes": 1, "steps": 1}, "in minutes or in steps"),
        ({"minutes": 0.0}, "above 0; got minutes=0.0"),
        ({"minutes": float("nan")}, "above 0"),
        ({"steps": 0}, "above 0"),
    ],
)
def test_budgets(budget, message):
    with pytest.raises(ValueError, match=message):
        Budget(**budget)


def test_another_runs_checkpoint_is_refused(tmp_path):
    trained(tmp_path / "c.pt", steps=4)
    with pytest.raises(ValueError, match=r"c\.pt belongs to another run: what was 'test', now 'other'"):
        train(STAGES, Gaussian(), Budget(steps=4), tmp_path / "c.pt", about={"what": "other"}, watch=Watch())


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    (tmp_path / "c.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint of dode train"):
        trained(tmp_path / "c.pt")


def test_a_loss_that_is_no_number_stops(tmp_path):
    broken = replace(STAGES[0], loss=lambda trio, rng, done: noisy(trio, rng, done) * float("nan"))
    with pytest.raises(ValueError, match="the loss of one is nan at step 1"):
        train([broken], Gaussian(), Budget(steps=4), tmp_path / "c.pt", about=ABOUT, watch=Watch())


def test_images(tmp_path):
    images, labels = write_images(tmp_path)
    ours, theirs = fashion("train", tmp_path)
    assert ours.shape == (40, 1, 32, 32)
    torch.testing.assert_close(ours[:, 0, 2:-2, 2:-2], images / 127.5 - 1, rtol=0, atol=1e-6)
    assert float(ours[:, :, :2].max()) == float(ours[..., -2:].max()) == -1
    assert theirs.tolist() == labels.tolist()
    with pytest.raises(ValueError, match="install the Debian package dataset-fashion-mnist"):
        fashion("train", tmp_path / "nowhere")


def test_nothing_is_made_without_images(tmp_path):
    request, model = Request("pd"), bundled("fashion-edm")
    with pytest.raises(ValueError, match="no training images at"):
        training.train(request, model, Budget(steps=1), tmp_path / "out", data=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="it is a file; give a folder"):
        training.train(request, model, Budget(steps=1), tmp_path / "file", data=tmp_path / "nowhere")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Students of all methods after a handful of steps, on forty random images."""
    made = tmp_path_factory.mktemp("students")
    write_images(made)
    with torch.no_grad():
        for request in (
            Request("pd", batch=2, teacher_steps=8),
            Request("cd", batch=2),
            Request("cd", batch=2, from_data=True),
            Request("guided", batch=2, teacher_steps=2),
        ):
            files = training.train(
                request, bundled("fashion-edm"), Budget(steps=6), made / request.name, Reports(), made
            )
            assert files
    return made


@pytest.mark.parametrize(
    ("name", "solver", "counts"),
    [
        ("pd/pd-4", "ddim", [4]),
        ("pd/pd-2", "ddim", [2]),
        ("pd/pd-1", "ddim", [1]),
        ("cd/cd", "ddim:fresh=1", [1, 2, 3, 4]),
        ("ct/ct", "ddim:fresh=1", [1, 2, 3, 4]),
        ("guided/guided-1", "ddim", [1]),
    ],
)
def test_students_open_and_sample(folder, name, solver, counts):
    path = folder / f"{name}.safetensors"
    assert path.stat().st_size <= 6e6
    model = student_file.open_file(path)
    assert (model.name, model.schedule.solver) == (path.stem, solver)
    assert sorted(model.schedule.times) == counts
    made = student_file.samplers(path)
    assert list(made) == counts
    for nfe, sampler in made.items():
        assert sampler.nfe == nfe
        assert [node.t for node in sampler.plan.nodes] == list(model.schedule.times[nfe])
        images = sampler.sample(2)
        assert images.shape == (2, 1, 32, 32)
        assert float(images.std()) > 0.1
    card = student_file.card_of(path)
    assert card["teacher"] == "fashion-edm"
    assert card["evaluations"] == counts
    assert card["network calls"] > 0
    assert f"A student of fashion-edm by {model_card.NAMES[card['method']]}" in path.with_suffix(".md").read_text()


def test_a_file_is_the_averaged_student_in_half_precision(folder):
    saved = torch.load(folder / "cd/checkpoint.pt", weights_only=True)["average"]
    net = student_file.open_file(folder / "cd/cd.safetensors").network.fn
    for key, value in net.state_dict().items():
        assert torch.equal(value, saved[key].half().float())


def test_the_exact_solution_of_a_student_is_its_teachers(folder, monkeypatch):
    student = student_file.open_file(folder / "pd/pd-1.safetensors")
    path = folder / "pd/pd-1.safetensors"
    assert student_file.teacher_of(path) == bundled("fashion-edm").fingerprint
    teacher = dode.analytic.Gaussian(torch.zeros(1, 32, 32), torch.ones(1, 32, 32)).model(dode.schedule.EDM(), "data")
    teacher = swapped(teacher, fingerprint=student_file.teacher_of(path))
    teacher = conditioned(teacher, lambda indices: [0] * len(indices))
    monkeypatch.setattr(student_file, "bundled", lambda name: teacher)
    x_T = student.start([0], 0)
    torch.testing.assert_close(student.exact(x_T), teacher.to(dtype=torch.float32).exact(x_T))


def test_a_student_of_another_teacher_has_no_exact_solution(folder):
    form = student_file.Form("data", "ddim", {1: (80.0, 0.0)})
    net = student_file.open_file(folder / "pd/pd-1.safetensors").network.fn
    other = student_file.model_of(net, form, "fashion-edm", "weights:0", "other")
    with pytest.raises(ValueError, match="other was distilled from another fashion-edm"):
        other.exact(other.start([0], 0))


def test_guidance_is_told_to_a_guided_student(folder):
    model = student_file.open_file(folder / "guided/guided-1.safetensors")
    told = []
    inner = model.network.fn.net.net.class_embedding
    inner.register_forward_hook(lambda _, given, out: told.append(given[0][1].tolist()))
    dode.sampler(model.guided(2.5), "ddim", nfe=1).sample(2)
    assert told == [[2.5, 2.5]]
    with pytest.raises(ValueError, match="trained for guidance from 1 to 4; got 5"):
        model.guided(5)


def test_what_a_student_was_not_trained_for(folder):
    model = student_file.open_file(folder / "pd/pd-2.safetensors")
    with pytest.raises(ValueError, match=r"pd-2 was trained for 2 network evaluations; got 3"):
        dode.sampler(model, "ddim", nfe=3)
    assert dode.sampler(model, "ddim", nfe=3, grid=[80, 5, 1, 0]).nfe == 3
    with pytest.raises(ValueError, match="pd-2 was trained for few steps"):
        dode.distill(model, "ddim", nfe=2)
    with pytest.raises(ValueError, match="pd-2 was trained for few steps"):
        dode.auto(model, 2)
    with pytest.raises(ValueError, match="pd-2 was trained for few steps"):
        dode.sampler(model, "ddim", nfe=2).invert(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="has no condition that means 'none'"):
        model.guided(2)
    with pytest.raises(ValueError, match=r"cd was trained for 1, 2, 3 or 4 network evaluations; got 9: ask for one of"):
        dode.sampler(student_file.open_file(folder / "cd/cd.safetensors"), "ddim:fresh=1", nfe=9)


@pytest.mark.parametrize("name", ["pd/pd-1", "ct/ct", "guided/guided-1"])
def test_a_packed_student_is_nearly_the_student(folder, tmp_path, name):
    """It says of itself what the first file said, and what it was known as; its samples moved a little."""
    source, target = folder / f"{name}.safetensors", tmp_path / "packed.safetensors"
    student_file.rewrite_packed(source, target)
    assert target.stat().st_size < 0.4 * source.stat().st_size
    before, after = student_file.open_file(source), student_file.open_file(target)
    assert (after.fingerprint, after.schedule.times) == (before.fingerprint, before.schedule.times)
    assert student_file.card_of(target) == student_file.card_of(source)
    weights, packed = (model.network.fn.state_dict() for model in (before, after))
    teacher = bundled("fashion-edm").network.fn.state_dict()
    for key, value in weights.items():
        change = value - teacher.get(key.replace(".classes.", "."), torch.zeros(1))
        step = packing.STEP * float(change.square().mean().sqrt()) + 1e-12
        assert float((packed[key] - value).abs().max()) <= max(0.51 * step, float(change.abs().max()) - 126 * step)
    nfe = min(before.schedule.times)
    ends = [student_file.samplers(path)[nfe].sample(2) for path in (source, target)]
    assert 0 < float((ends[0] - ends[1]).square().mean().sqrt()) < 0.05


def test_a_packed_student_of_another_size_is_refused():
    weights, teacher = {"a": torch.ones(2, 3), "b": torch.ones(3)}, {"a": torch.zeros(2, 3)}
    packed = packing.pack(weights, teacher)
    torch.testing.assert_close(packing.unpack(packed, weights, teacher), weights)
    for wrong in ({"a": torch.ones(2, 2)}, {"a": torch.ones(3, 3)}, {"a": torch.ones(2, 3), "c": torch.ones(1, 1)}):
        with pytest.raises(DodeError, match=r"packed weights are|in the teacher"):
            packing.unpack(packed, wrong, teacher)
    with pytest.raises(DodeError, match="damaged"):
        packing.unpack(packed | {"packed": torch.zeros(9, dtype=torch.uint8)}, weights, teacher)


def test_files_that_are_no_students(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    good = folder / "pd/pd-1.safetensors"
    tensors = load_file(good)
    save_file(tensors, tmp_path / "plain.safetensors")
    assert not student_file.written(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="was not written by dode train"):
        student_file.open_file(tmp_path / "plain.safetensors")
    about = {"what": student_file.WHAT, "teacher": "fashion-edm", "fingerprint": "", "card": {}}
    form = {"network": "data", "solver": "ddim", "times": {"1": [80, 0]}, "guidance": None}
    for wrong, message in (
        ({"times": {"2": [80, 0]}}, "one more than evaluations"),
        ({"times": {}}, "one more than evaluations"),
        ({"times": 3}, "form.times must be an object; got 3"),
        ({"times": {"a": [80, 0]}}, "does not say how to sample"),
        ({"network": "noise"}, "got 'noise'"),
    ):
        said = about | {"form": form | wrong}
        save_file(tensors, tmp_path / "bad.safetensors", {"dode": json.dumps(said)})
        assert student_file.written(tmp_path / "bad.safetensors")
        with pytest.raises(ValueError, match=message):
            student_file.open_file(tmp_path / "bad.safetensors")
    (tmp_path / "half.safetensors").write_bytes(good.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        student_file.open_file(tmp_path / "half.safetensors")


def test_who_can_teach(folder):
    for name in ("fashion", "fashion-mixture"):
        with pytest.raises(ValueError, match=f"{name} cannot be the teacher"):
            training.teacher_of(bundled(name))
    with pytest.raises(ValueError, match="pd-1 cannot be the teacher"):
        training.teacher_of(student_file.open_file(folder / "pd/pd-1.safetensors"))


def test_pairs_go_on_where_they_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(direct, "CHUNK", 2)
    model = bundled("fashion-edm")

    def killed(done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        direct.pairs(model, 5, 2, 0, tmp_path / "a.safetensors", killed)
    ours = direct.pairs(model, 5, 2, 0, tmp_path / "a.safetensors", lambda done, total: None)
    theirs = direct.pairs(model, 5, 2, 0, tmp_path / "b.safetensors", lambda done, total: None)
    assert torch.equal(ours.samples, theirs.samples)
    with pytest.raises(ValueError, match=r"a\.safetensors was made with .*, 2 steps, seed 0; asked for .* 3 steps"):
        direct.pairs(model, 5, 3, 0, tmp_path / "a.safetensors", lambda done, total: None)
    assert ours.labels.tolist() == [0, 1, 2, 3, 4]
    x_T = model.start(range(5), 0, "fit")
    torch.testing.assert_close(ours.noise, x_T)
    torch.testing.assert_close(ours.samples, dode.sampler(model, "ddim", nfe=2).sample(noise=x_T), atol=1e-4, rtol=1e-4)


def test_the_command(tmp_path):
    """Train and sample, as a user types it, with the method that needs no data."""
    words = ["train", "direct", "--steps", "3", "--pairs", "4", "--teacher-steps", "2", "--batch", "2", "-o", "out"]
    done = dode_cli(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "written: out/direct-1.safetensors\n"
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"checkpoint.pt", "pairs.safetensors", "direct-1.safetensors", "direct-1.md", "direct-1.png"}
    done = dode_cli(
        tmp_path, "sample", "out/direct-1.safetensors", "--solver", "ddim", "--nfe", "1", "-n", "2", "-o", "s.png"
    )
    assert done.returncode == 0, done.stderr
    assert "2 samples, 1 evaluations each" in done.stdout


def test_compare_measures_a_student_at_its_own_evaluations(folder, monkeypatch, capsys):
    from dode.cli.compare import compare
    from dode.metrics import evaluation

    monkeypatch.setattr(
        evaluation, "exact_ends", lambda model, settings, tell: torch.zeros(settings.paired, *model.shape)
    )
    compare(str(folder / "cd/cd.safetensors"), solvers="ddim:fresh=1", nfe="1,2,3,4", paired=2)
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if "±" in line and "fresh=1 " in line]
    assert rows == [["ddim:fresh=1", str(nfe)] for nfe in (1, 2, 3, 4)]


def test_sample_gives_the_evaluations_that_a_student_has(folder):
    from dode.cli.sample import sample

    with pytest.raises(DodeError, match="cd was trained for 1, 2, 3 or 4"):
        sample(str(folder / "cd/cd.safetensors"), folder / "s.png", solver="ddim:fresh=1", nfe=5)
    sample(str(folder / "cd/cd.safetensors"), folder / "s.png", solver="ddim:fresh=1", nfe=2, number=2)
    assert (folder / "s.png").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "xd"}, "method must be one of pd, cd, direct, guided; got 'xd'"),
        ({"method": "pd", "from_data": True}, "only cd can be trained from data alone"),
        ({"method": "cd", "batch": 0}, "must be at least 1; got 0"),
        ({"method": "direct", "pairs": 0}, "must be at least 1"),
    ],
)
def test_bad_requests(given, message):
    with pytest.raises(ValueError, match=message):
        Request(**given)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pd", "--minutes", "1", "--steps", "1"], "give --minutes or --steps"),
        (["cd", "--steps", "1", "--model", "fashion"], "fashion cannot be the teacher"),
        (["cd", "--steps", "1", "--every", "0"], "--every must be above 0"),
    ],
)
def test_bad_commands_are_one_sentence(tmp_path, words, message):
    done = dode_cli(tmp_path, "train", *words, "-o", "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
