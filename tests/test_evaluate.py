"""`dode.evaluate`: its metrics are those of its samples, with errors from splits, samples or seeds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from features import Projection
from problems import mixture_model

import dode
from dode import trajectories
from dode.bundled_models import classifier
from dode.metrics import (
    METRICS,
    Estimate,
    Metric,
    Row,
    change,
    distance,
    extracted,
    frechet,
    kid,
    mmd,
    moments,
    not_worse,
    precision,
    ratio,
    recall,
    to_uint8,
)
from dode.metrics.estimates import pooled, split_values, standard_error
from dode.metrics.evaluation import Evaluator, Settings, bundled_evaluator, exact_ends, measure, open_evaluator
from dode.metrics.reference_stats import Statistics, bundled, write


@pytest.fixture(scope="module")
def fashion():
    with torch.no_grad():
        return dode.sampler(dode.bundled("fashion-mixture"), "ddim", nfe=3)


def test_distances_are_those_of_the_report_noise():
    sampler = dode.sampler(mixture_model("edm"), "ddim", nfe=5)
    found = dode.evaluate(sampler, paired=12, seed=3, batch=5)
    x_T = sampler.model.start(range(12), 3, "test")
    gap = distance(sampler.sample(noise=x_T), sampler.model.exact(x_T, 4e-4))
    assert found.rms == pytest.approx(gap.rms, rel=1e-12)
    assert found.median == pytest.approx(gap.median, rel=1e-12)
    np.testing.assert_allclose(found.each, gap.each)
    assert found.rms_error == pytest.approx(np.std(gap.each**2, ddof=1) / np.sqrt(12) / 2 / gap.rms)
    assert (found.seed, found.seeds, found.nfe, found.solver, found.samples) == (3, (3,), 5, "ddim", 0)
    assert [*found.estimates] == ["rms"]


@pytest.mark.parametrize(
    ("seed", "says"), [([0, 0], "seeds that differ; got 0, 0"), ([0.5], "whole number"), (-1, "0 to")]
)
def test_seeds_are_whole_and_differ(seed, says):
    with pytest.raises(ValueError, match=says):
        dode.evaluate(dode.sampler(mixture_model("edm"), "ddim", nfe=2), paired=4, seed=seed)


def test_one_metric_needs_no_list_and_a_model_is_no_sampler():
    sampler = dode.sampler(mixture_model("edm"), "ddim", nfe=2)
    assert dode.evaluate(sampler, "rms", paired=4).rms == dode.evaluate(sampler, ["rms"], paired=4).rms
    for wrong in (sampler.model, [sampler]):
        with pytest.raises(ValueError, match=r"a sampler is needed, as dode.sampler or dode.distill makes it; got"):
            dode.evaluate(wrong, paired=4)


def test_numpys_whole_numbers_are_seeds():
    sampler = dode.sampler(mixture_model("edm"), "ddim", nfe=2)
    assert dode.evaluate(sampler, paired=4, seed=np.int64(3)).rms == dode.evaluate(sampler, paired=4, seed=3).rms
    assert dode.evaluate(sampler, paired=4, seed=np.arange(2)).seeds == (0, 1)
    with pytest.raises(ValueError, match="whole number"):
        dode.distill(sampler.model, "ddim", nfe=2, samples=2, seed=0.7)


def test_a_track_stands_where_the_states_stand():
    """A plan may tell its network other times, which its nodes have."""
    model = mixture_model("discrete")
    base = dode.sampler(model, "ddim", nfe=4)
    plan, own = base.plan, [node.t for node in base.plan.nodes]
    nodes = (*(node._replace(t=node.t - 20) for node in plan.nodes[:-1]), plan.nodes[-1])
    told = replace(base, plan=replace(plan, nodes=nodes, conditioning_shifts=np.full(4, 0.1)))
    track = trajectories.track(told, model.start(range(4), 0), (0, 1))
    assert track.times == pytest.approx(own, abs=1e-6)


def test_figures_of_features_are_those_of_the_samples(fashion):
    wanted = ["fd", "kid", "pr", "agreement"]
    found = dode.evaluate(fashion, wanted, samples=60, batch=25, seed=1)
    images = to_uint8(fashion.sample(60, seed=1, batch=25))
    known, features = bundled(), extracted(classifier().features, images)
    assert found["fd"].value == pytest.approx(frechet(moments(features), known.moments), rel=1e-6)
    parts = split_values(lambda part: frechet(moments(part), known.moments), features)
    np.testing.assert_allclose(found["fd"].parts, parts, rtol=1e-6)
    assert found["kid"].value == pytest.approx(kid(features, known.features), rel=1e-6)
    np.testing.assert_allclose(found["kid"].parts, split_values(mmd, features, known.features), rtol=1e-6)
    data = known.features[:60]  # as many data as samples
    assert found["precision"].value == precision(features, data).mean()
    assert found["recall"].value == recall(features, data).mean()
    right = classifier()(images).argmax(1) == torch.arange(60) % 10
    assert found["agreement"].value == pytest.approx(float(right.double().mean()))
    assert found["agreement"].error == pytest.approx(
        np.std(right.reshape(10, 6).double().mean(1).numpy(), ddof=1) / 10**0.5
    )
    assert found.reference == known.mark
    assert np.isnan(found.rms)
    assert 0.2 < found["agreement"].value < 1


def test_batches_change_nothing_for_stochastic_samplers_either():
    sampler = dode.sampler(dode.bundled("fashion-mixture"), "edm:churn=10.0", nfe=5)
    one, other = (dode.evaluate(sampler, ["fd"], samples=20, batch=batch) for batch in (20, 7))
    assert one["fd"].value == pytest.approx(other["fd"].value, rel=1e-4)
    sampler = dode.sampler(mixture_model("edm"), "edm:churn=10.0", nfe=5)
    whole = sampler.sample(6, seed=2)
    parts = torch.cat([sampler.sample(n, seed=2, first=first) for n, first in ((2, 0), (4, 2))])
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="first sample must be at least 0"):
        sampler.sample(2, first=-1)


def test_several_seeds_are_their_mean_with_an_error_over_seeds(fashion):
    for sampler, name in ((dode.sampler(mixture_model("edm"), "ddim", nfe=3), "rms"), (fashion, "fd")):
        options = {"paired": 6, "samples": 20, "rtol": 1e-2}
        rows = [dode.evaluate(sampler, [name], seed=seed, **options) for seed in (0, 1, 2)]
        found = dode.evaluate(sampler, [name], seed=(0, 1, 2), **options)
        values = [row[name].value for row in rows]
        assert found[name].value == pytest.approx(np.mean(values))
        assert found[name].error == pytest.approx(np.std(values, ddof=1) / 3**0.5)
        assert found.seed is None
        if name == "rms":
            assert found.median == pytest.approx(np.mean([row.median for row in rows]))
            assert found.each.tolist() == [one for row in rows for one in row.each]
        else:
            assert found["fd"].parts.tolist() == [one for row in rows for one in row["fd"].parts]
    assert pooled(rows[:1]) is rows[0]
    with pytest.raises(ValueError, match="different seeds of one solver"):
        pooled([rows[0], rows[0]])


def test_latents_are_decoded_before_they_are_judged(fashion):
    flipped = replace(fashion, model=replace(fashion.model, decode=lambda x: -x))
    found = dode.evaluate(flipped, ["fd"], samples=20)
    features = extracted(classifier().features, to_uint8(-fashion.sample(20)))
    assert found["fd"].value == pytest.approx(frechet(moments(features), bundled().moments), rel=1e-6)


def test_an_extractor_of_ones_own_with_statistics_of_its_own(fashion, tmp_path):
    net = Projection(1024, 4)
    own = moments(extracted(net, to_uint8(fashion.sample(30, seed=9))))
    write(tmp_path / "own.npz", Statistics(own))
    found = dode.evaluate(fashion, ["fd"], samples=20, extractor=net, statistics=tmp_path / "own.npz")
    assert found["fd"].value == pytest.approx(
        frechet(moments(extracted(net, to_uint8(fashion.sample(20)))), own), rel=1e-5
    )
    options = {"samples": 20, "extractor": net, "statistics": tmp_path / "own.npz"}
    with pytest.raises(ValueError, match="need features of data"):
        dode.evaluate(fashion, ["kid"], **options)
    with pytest.raises(ValueError, match="needs a classifier"):
        dode.evaluate(fashion, ["agreement"], **options)
    with pytest.raises(ValueError, match="gives 4 features an image, the statistics are of 64"):
        dode.evaluate(fashion, ["fd"], **options | {"statistics": bundled()})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metrics": ["fid"]}, "metrics are rms, fd, kid, precision, recall, agreement, pr; got fid"),
        ({"metrics": []}, "got none"),
        ({"metrics": ["fd"], "samples": 19}, "at least 20 samples; got 19"),
        ({"metrics": ["fd"], "samples": 0}, "fd need samples"),
        ({"paired": 1}, "at least 2 paired"),
        ({"seed": ()}, "at least one seed"),
        ({"metrics": ["fd"]}, r"sees images \(1, 32, 32\); got \(2, 4\)"),
    ],
)
def test_what_cannot_be_had_is_told_before_any_sample(options, says):
    sampler = dode.sampler(mixture_model("edm"), "ddim", nfe=5)
    calls = []
    with pytest.raises(ValueError, match=says):
        dode.evaluate(sampler, **{"samples": 20, "progress": lambda *_: calls.append(1)} | options)
    assert not calls


def test_not_worse_is_at_most_two_standard_errors():
    parts = np.linspace(-1, 1, 10)
    base = Row("a", 5, {"fd": Estimate(10.0, parts=parts * 0), "recall": Estimate(0.5, parts=parts * 0)})
    error = np.std(parts, ddof=1) / 10**0.5
    for gap, expected in ((-9.0, True), (1.99 * error, True), (2.01 * error, False)):
        row = Row("b", 5, {"fd": Estimate(10.0 + gap, parts=parts), "recall": Estimate(0.5 - gap, parts=-parts)})
        assert change(row, base, "fd") == pytest.approx((gap, error))
        assert not_worse(row, base) == expected
        assert not_worse(row, base, "recall") == expected  # where more is better
    assert change(row, base, "kid") is None
    with pytest.raises(ValueError, match="both rows need kid"):
        not_worse(row, base, "kid")
    with pytest.raises(ValueError, match=r"metrics are rms, fd.*images"):
        change(row, base, "images")


def far(name, each):
    return Row(name, 5, {"rms": Estimate(float(np.sqrt(np.mean(each**2))), each=each)})


def test_the_ratio_of_distances_is_paired():
    """Twice every distance is a ratio of two without error; independent ones have that of the delta method."""
    each = np.abs(np.random.default_rng(0).normal(size=50)) + 0.5
    base = far("a", each)
    assert ratio(far("b", 2 * each), base) == pytest.approx((2.0, 0.0), abs=1e-12)
    assert not not_worse(far("b", 1.001 * each), base, "rms")
    assert not_worse(far("b", each[::-1].copy()), base, "rms")
    with pytest.raises(ValueError, match="need their samples' distances"):
        ratio(Row("b", 5), base)


def test_without_paired_samples_nothing_is_solved(fashion):
    row = measure(fashion, None, Settings(0, 20), bundled_evaluator())
    assert row.images is None
    assert row.samples == 20
    with pytest.raises(ValueError, match="need the exact solution"):
        measure(fashion, None, Settings(4), None)
    with pytest.raises(ValueError, match="nothing to measure"):
        Settings(0)


def test_images_of_the_paired_noise_are_kept(fashion):
    settings = Settings(4, 20)
    row = measure(fashion, exact_ends(fashion.model, settings, lambda done, total: None), settings, bundled_evaluator())
    torch.testing.assert_close(row.images, fashion.sample(4), rtol=1e-4, atol=1e-4)


def test_an_evaluator_by_hand_has_what_it_was_given():
    made = open_evaluator("bundled", None, None, "cpu")
    assert isinstance(made, Evaluator)
    assert made.statistics.mark == bundled().mark
    assert Evaluator(made.features, made.statistics).classifier is None


def test_a_metric_of_ones_own_is_a_function_and_a_line(monkeypatch, fashion):
    """It is measured, shown with its error and compared like the others."""

    def darkness(features, data):
        parts = split_values(lambda part: float(np.abs(part.mean(0) - data.mean).sum()), features)
        return Estimate(float(parts.mean()), standard_error(parts), parts)

    monkeypatch.setitem(METRICS, "darkness", Metric("darkness", darkness, "moments"))
    row = dode.evaluate(fashion, ["darkness"], samples=20)
    assert row["darkness"].value > 0
    assert f"{row['darkness']:.3f}" == f"{row['darkness'].value:.3f} ± {row['darkness'].error:.3f}"
    assert change(row, row, "darkness") == (0, 0)
    assert not_worse(row, row, "darkness")
    with pytest.raises(ValueError, match="not measured by 'fd'; it has darkness"):
        row["fd"]
