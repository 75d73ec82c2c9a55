"""Networks in EDM form as models."""

import pytest
import torch

import dode


def gaussian(x, sigma, class_labels=None):
    """The best x̂₀ of data with spread 0.5 around the class's number (0 without a class)."""
    mean = 0.0 if class_labels is None else class_labels @ torch.arange(1.0, 1 + class_labels.shape[1]).to(x.dtype)
    mean = torch.as_tensor(mean, dtype=x.dtype).reshape(-1, 1)
    s = sigma.reshape(-1, 1)
    return mean + 0.25 / (0.25 + s**2) * (x - mean)


def test_any_function_in_edm_form():
    model = dode.from_edm(gaussian, shape=(3,), dtype=torch.float64)
    assert (model.prediction, model.schedule.t_max, model.schedule.t_min) == ("data", 80.0, 0.002)
    assert model.conditioning is None
    x_T = model.start(range(8), seed=0)
    exact = 0.5 / (0.25 + 80.0**2) ** 0.5 * x_T  # the flow of a normal distribution
    fitted = dode.distill(model, "ddim", nfe=9, samples=20)
    plain = dode.sampler(model, "ddim", nfe=9)
    distance = [float((made.sample(noise=x_T) - exact).abs().max()) for made in (plain, fitted)]
    assert distance[1] < distance[0]


def test_classes_are_rows_of_ones_and_no_class_is_a_row_of_zeros():
    seen = []

    def net(x, sigma, class_labels):
        seen.append(class_labels)
        return gaussian(x, sigma, class_labels)

    model = dode.from_edm(net, shape=(3,), classes=3, unlabelled=True)
    model.bound("data", model.conditions(range(4), [2, 0, 1, 3]))(torch.zeros(4, 3), model.schedule.node(1.0))
    assert torch.equal(seen[-1], torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]))
    assert model.conditions(range(4)).tolist() == [0, 1, 2, 0]
    guided = model.guided(3.0).bound("data", model.conditions(range(1), [2]))
    found = guided(torch.zeros(1, 3), model.schedule.node(1.0))
    near, none = (gaussian(torch.zeros(1, 3), torch.ones(1), torch.eye(4)[[k], :3]) for k in (2, 3))
    assert torch.allclose(found, none + 3 * (near - none))
    with pytest.raises(ValueError, match="cannot be guided"):
        dode.from_edm(net, shape=(3,), classes=3).guided(2.0)
