"""A device that one machine with a CPU can have: its tensors say that they are elsewhere, and compute here.

Like an accelerator it has no float64, and every look at a tensor's numbers from here is counted, as a look would wait
for the device.  Its name is "meta", the one device besides the CPU that torch always knows.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "meta"
LOOKS = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::is_nonzero"}


class There(torch.Tensor):
    """A tensor of the device."""

    @staticmethod
    def __new__(cls, here):
        if here.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"the device has no {here.dtype}")
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device=DEVICE, requires_grad=False
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} outside the mode that plays the device")


class Device(TorchDispatchMode):
    """While it is on, `device="meta"` is the device; `looks` are the operations that waited for it."""

    def __init__(self):
        super().__init__()
        self.looks = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = []
        args, kwargs = tree_map(lambda one: self._here(one, given), (args, kwargs))
        target = kwargs.get("device")
        there = bool(given) if target is None else torch.device(target).type == DEVICE
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        name = func.name().split(".")[0]
        # to or from there; or both in one operation, which a real device waits for or refuses
        crossing = (name == "aten::_to_copy" and there != bool(given)) or (given and _mixed(args, given))
        if crossing or (given and name in LOOKS):
            self.looks.append(name)
        made = func(*args, **kwargs)
        known = {id(here): outer for outer, here in given}  # what works in place returns what it was given
        return tree_map(lambda one: known.get(id(one)) if id(one) in known else _placed(one), made) if there else made

    def _here(self, one, given):
        if isinstance(one, There):
            given.append((one, one.here))
            return one.here
        return one


def _mixed(args, given):
    theirs = {id(here) for _, here in given}
    return any(isinstance(one, torch.Tensor) and one.ndim and id(one) not in theirs for one in tree_leaves(args))


def _placed(one):
    return There(one) if isinstance(one, torch.Tensor) else one
