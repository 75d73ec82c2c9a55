"""Statistics files: those of EDM, ADM, pytorch-fid and clean-fid are read, ours are read by all, torn ones are told."""

import pickle

import numpy as np
import pytest
from features import Projection, clouds, images

from dode.metrics import extracted, moments
from dode.metrics.reference_stats import Statistics, read, write


@pytest.fixture
def known():
    features = clouds(50, 0)[0]
    return features, moments(features)


def alike(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_edm_and_pytorch_fid(tmp_path, known):
    np.savez(tmp_path / "a.npz", mu=known[1].mean, sigma=known[1].covariance)
    found = read(tmp_path / "a.npz")
    assert alike(found.moments, known[1])
    assert found.features is None


def test_adm_has_spatial_statistics_beside_them(tmp_path, known):
    other = moments(clouds(30, 0, width=7)[0])
    np.savez(tmp_path / "a.npz", mu=known[1][0], sigma=known[1][1], mu_s=other.mean, sigma_s=other.covariance)
    assert alike(read(tmp_path / "a.npz").moments, known[1])


def test_adm_sample_batches_are_images(tmp_path):
    net, batch = Projection(3 * 64), images(30, 0).expand(-1, 3, -1, -1)
    np.savez(tmp_path / "a.npz", arr_0=batch.permute(0, 2, 3, 1).numpy())
    features = extracted(net, batch)
    found = read(tmp_path / "a.npz", net)
    assert alike(found.moments, moments(features))
    assert np.array_equal(found.features, features)
    with pytest.raises(ValueError, match="has images, which need an extractor"):
        read(tmp_path / "a.npz")


def test_images_beside_statistics_give_features_and_statistics_stay(tmp_path, known):
    net, batch = Projection(64, width=5), images(30, 0)
    arrays = {"mu": known[1].mean, "sigma": known[1].covariance}
    np.savez(tmp_path / "a.npz", arr_0=batch.permute(0, 2, 3, 1).numpy(), **arrays)
    found = read(tmp_path / "a.npz", net)
    assert alike(found.moments, known[1])
    assert np.array_equal(found.features, extracted(net, batch))


def test_clean_fid_features(tmp_path, known):
    np.savez(tmp_path / "a_kid.npz", feats=known[0])
    found = read(tmp_path / "a_kid.npz")
    assert alike(found.moments, known[1])
    assert np.array_equal(found.features, known[0])


def test_what_is_written_is_read_and_has_everybodys_names(tmp_path, known):
    made = Statistics(known[1], known[0])
    write(tmp_path / "a.npz", made)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as saved:
        assert set(saved.files) == {"mu", "sigma", "feats"}
    found = read(tmp_path / "a.npz")
    assert alike(found.moments, made.moments)
    assert np.array_equal(found.features, known[0])
    assert found.mark == made.mark
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz"}


def test_the_mark_is_of_every_number(known):
    features, summed = known
    changed = features.copy()
    changed[3, 2] += 1e-9
    marks = {Statistics(summed).mark, Statistics(summed, features).mark, Statistics(summed, changed).mark}
    assert len(marks) == 3


def test_the_bundled_statistics_are_read_by_the_same_reader():
    from dode.metrics.reference_stats import bundled

    found = bundled()
    assert found.features.shape == (5000, 64)
    some = moments(found.features)
    scale = np.sqrt(np.diag(found.moments.covariance) / 5000)
    assert scale.max() > 0.01
    assert (np.abs(some.mean - found.moments.mean) <= 5 * scale).all()  # they are a random part of the same images


class Boom:
    def __reduce__(self):
        return (open, ("/tmp/never", "w"))


def spoilt(tmp_path, kind, known):
    """A file that is wrong in this way."""
    path = tmp_path / "a.npz"
    mean, covariance = known[1]
    if kind == "torn":
        write(path, Statistics(known[1]))
        path.write_bytes(path.read_bytes()[:-30])
    elif kind == "changed":
        write(path, Statistics(known[1]))
        content = bytearray(path.read_bytes())
        content[90] ^= 255
        path.write_bytes(bytes(content))
    elif kind == "text":
        path.write_text("mu sigma")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"mu": mean}))
    else:
        arrays = {
            "objects": {"mu": np.array([Boom()], dtype=object), "sigma": covariance},
            "foreign": {"weights": mean},
            "half": {"mu": mean},
            "shapes": {"mu": mean, "sigma": covariance[:3]},
            "nan": {"mu": mean * np.nan, "sigma": covariance},
            "skew": {"mu": mean, "sigma": np.triu(covariance) + np.eye(5)},
            "words": {"mu": np.array(["a"]), "sigma": covariance},
            "features": {"mu": mean, "sigma": covariance, "feats": known[0][:, :3]},
            "pictures": {"arr_0": np.zeros((3, 4))},
        }[kind]
        np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("torn", "no .npz file, or only a part of one"),
        ("changed", "cannot be read as .npz statistics"),
        ("text", "no .npz file"),
        ("pickle", "no .npz file"),
        ("objects", "Object arrays cannot be loaded"),
        ("foreign", "has no statistics: neither mu and sigma"),
        ("half", "one of mu and sigma without the other"),
        ("shapes", r"must be \(D,\) and \(D, D\); got \(5,\) and \(3, 5\)"),
        ("nan", "mu must hold finite numbers"),
        ("skew", "not symmetric"),
        ("words", "mu must hold finite numbers; got <U1"),
        ("features", r"features must be \(M, 5\), as the mean is; got \(50, 3\)"),
        ("pictures", r"arr_0 must be uint8 images \(N, H, W, C\)"),
    ],
)
def test_wrong_files_are_one_sentence_that_names_them(tmp_path, known, kind, says):
    path = spoilt(tmp_path, kind, known)
    with pytest.raises(ValueError, match=says) as told:
        read(path, Projection())
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="no file of statistics"):
        read(tmp_path / "b.npz")
    assert not list(tmp_path.iterdir())
