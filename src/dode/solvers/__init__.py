"""The catalogue: every solver by name, in reading order."""

from typing import Any

from dode.messages import unknown
from dode.method import Method
from dode.solvers.ddim import DDIM
from dode.solvers.deis import DEIS_1, DEIS_2, DEIS_3
from dode.solvers.dpm_solver import DPM_SOLVER_2, DPM_SOLVER_3, DPM_SOLVER_PP_2S, DPM_SOLVER_PP_3S
from dode.solvers.dpm_solver_pp import DPM_SOLVER_PP_2M, DPM_SOLVER_PP_3M
from dode.solvers.gradient_estimation import GRADIENT_ESTIMATION
from dode.solvers.heun import EDM
from dode.solvers.ipndm import IPNDM, IPNDM_2, IPNDM_3, PNDM
from dode.solvers.unipc import UNIPC_2, UNIPC_3

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        DDIM,
        *(IPNDM_2, IPNDM_3, IPNDM, PNDM),
        *(DPM_SOLVER_2, DPM_SOLVER_3),
        *(DPM_SOLVER_PP_2S, DPM_SOLVER_PP_2M, DPM_SOLVER_PP_3S, DPM_SOLVER_PP_3M),
        *(DEIS_1, DEIS_2, DEIS_3),
        *(UNIPC_2, UNIPC_3),
        EDM,
        GRADIENT_ESTIMATION,
    )
}
METHODS["dpm-solver-1"] = DDIM  # the same method, under the name of Lu et al. 2022


def method(name: str, **options: Any) -> Method:
    """The method of this name with its options chosen; ValueError with the nearest names."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name].configured(**options) if options else METHODS[name]
