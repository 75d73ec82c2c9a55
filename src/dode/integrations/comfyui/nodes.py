"""The ComfyUI nodes as data, and from it both forms that ComfyUI knows: V3 schemas and V1 classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dode.integrations.comfyui import sampling

CATEGORY = "sampling/dode"
SEED = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
FILE = {"default": "", "tooltip": "A calibration file: its name in the output folder, or its whole path."}
STEPS = {"default": 0, "min": 0, "max": 1000, "tooltip": "Of the plan, if the file has several; 0 if it has one."}
CFG = {
    "default": 0.0,
    "min": 0.0,
    "max": 100.0,
    "step": 0.1,
    "tooltip": "Of the plan to take; 0: the one that the model runs at, or the only one of the file.",
}


@dataclass(frozen=True)
class Input:
    """A socket or a widget; the kind is ComfyUI's name, or the words of a choice."""

    name: str
    kind: str | list[str]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """One node: run(**inputs) → its outputs."""

    name: str
    title: str
    about: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, str], ...]  # kind, name
    run: Callable[..., tuple[Any, ...]]
    writes: bool = False


WHICH = (Input("calibration", "STRING", FILE), Input("steps", "INT", STEPS), Input("cfg", "FLOAT", CFG))  # a plan
SAMPLER = Node(
    "DODESampler",
    "D-ODE sampler",
    "Samples with a calibration file; without one, with the plain method on any sigmas.",
    (WHICH[0], Input("method", sampling.NAMES, {"default": "dpm-solver++2m"}), *WHICH[1:]),
    (("SAMPLER", "sampler"),),
    sampling.sampler,
)
SIGMAS = Node(
    "DODESigmas",
    "D-ODE sigmas",
    "The sigmas that a calibration was made for; denoise below 1 keeps their end.",
    (
        Input("model", "MODEL"),
        *WHICH,
        Input("denoise", "FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
    ),
    (("SIGMAS", "sigmas"),),
    sampling.sigmas,
)


def calibrate(schedulers: list[str]) -> Node:
    """The node that distils; schedulers are the names that ComfyUI offers."""
    return Node(
        "DODECalibrate",
        "D-ODE calibrate",
        "Distils a solver for this model, prompt, guidance and steps; writes a file to the output folder.",
        (
            Input("model", "MODEL"),
            Input("positive", "CONDITIONING"),
            Input("negative", "CONDITIONING"),
            Input("latent_image", "LATENT"),
            Input("cfg", "FLOAT", {"default": 7.0, "min": 0.0, "max": 100.0, "step": 0.1}),
            Input("steps", "INT", {"default": 10, "min": 2, "max": 100}),
            Input("scheduler", schedulers),
            Input("method", sampling.NAMES, {"default": "ddim"}),
            Input("samples", "INT", {"default": 16, "min": 1, "max": 1000, "tooltip": "To fit on."}),
            Input("batch", "INT", {"default": 1, "min": 1, "max": 64, "tooltip": "Samples per network call."}),
            Input("seed", "INT", SEED),
            Input("name", "STRING", {"default": "dode"}),
        ),
        (("SAMPLER", "sampler"), ("SIGMAS", "sigmas"), ("STRING", "file")),
        sampling.fit,
        writes=True,
    )


def described(schedulers: list[str]) -> list[Node]:
    """All nodes; schedulers are the names that ComfyUI offers."""
    return [SAMPLER, SIGMAS, calibrate(schedulers)]


def v1(node: Node) -> type:
    """The node as a class with INPUT_TYPES."""
    required = {one.name: (one.kind, dict(one.options)) for one in node.inputs}
    return type(
        node.name,
        (),
        {
            "INPUT_TYPES": classmethod(lambda cls: {"required": required}),
            "RETURN_TYPES": tuple(kind for kind, _ in node.outputs),
            "RETURN_NAMES": tuple(name for _, name in node.outputs),
            "FUNCTION": "execute",
            "CATEGORY": CATEGORY,
            "DESCRIPTION": node.about,
            "OUTPUT_NODE": node.writes,
            "execute": lambda self, **inputs: node.run(**inputs),
        },
    )


def v3(node: Node, io: Any) -> type:
    """The node as an io.ComfyNode; io is comfy_api.latest's."""
    return type(
        node.name,
        (io.ComfyNode,),
        {
            "define_schema": classmethod(lambda cls: _schema(node, io)),
            "execute": classmethod(lambda cls, **inputs: io.NodeOutput(*node.run(**inputs))),
        },
    )


def _schema(node: Node, io: Any) -> Any:
    kinds = {
        "MODEL": io.Model,
        "CONDITIONING": io.Conditioning,
        "LATENT": io.Latent,
        "SAMPLER": io.Sampler,
        "SIGMAS": io.Sigmas,
        "STRING": io.String,
        "INT": io.Int,
        "FLOAT": io.Float,
    }
    inputs = [
        io.Combo.Input(one.name, options=one.kind, **one.options)
        if isinstance(one.kind, list)
        else kinds[one.kind].Input(one.name, **one.options)
        for one in node.inputs
    ]
    return io.Schema(
        node_id=node.name,
        display_name=node.title,
        category=CATEGORY,
        description=node.about,
        inputs=inputs,
        outputs=[kinds[kind].Output(id=f"{name}_out", display_name=name) for kind, name in node.outputs],
        is_output_node=node.writes,
    )
