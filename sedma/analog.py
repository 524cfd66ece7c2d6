"""Simulated crossbars without a mesh: a matrix in one's own process, each answer with how wrong it can be.

from sedma.analog import AnalogMatrix

W = AnalogMatrix(weights, device="rram-wan2022", seed=7)
answer = W.matmul(X, rtol=1e-2)
answer.certificate.bound
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compute.analog import AnalogMatrix
    from compute.answer import AnalogResult, Certificate, Report
    from compute.arguments import MatrixError
    from compute.device import DeviceError, DeviceModel
    from compute.fused import warm_up
    from compute.presets import DEFAULT_DEVICE, PRESETS, device, from_toml
    from compute.solver import Solution, SolverError
    from compute.systems import solve

_PLACES = {
    "AnalogMatrix": "compute.analog",
    "AnalogResult": "compute.answer",
    "Certificate": "compute.answer",
    "DEFAULT_DEVICE": "compute.presets",
    "DeviceError": "compute.device",
    "DeviceModel": "compute.device",
    "MatrixError": "compute.arguments",
    "PRESETS": "compute.presets",
    "Report": "compute.answer",
    "Solution": "compute.solver",
    "SolverError": "compute.solver",
    "device": "compute.presets",
    "from_toml": "compute.presets",
    "solve": "compute.systems",
    "warm_up": "compute.fused",
}

__all__ = [
    "DEFAULT_DEVICE",
    "PRESETS",
    "AnalogMatrix",
    "AnalogResult",
    "Certificate",
    "DeviceError",
    "DeviceModel",
    "MatrixError",
    "Report",
    "Solution",
    "SolverError",
    "device",
    "from_toml",
    "solve",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    """Loaded when first used: who only talks to a mesh needs none of it."""
    if name not in _PLACES:
        raise AttributeError(f"module 'sedma.analog' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
