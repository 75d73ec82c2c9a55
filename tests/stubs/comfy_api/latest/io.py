"""Schemas and types of V3 nodes, with the options that each widget takes."""

from dataclasses import dataclass, field


def kind(name, *options):
    shared = ("display_name", "optional", "tooltip", "lazy", "default", *options)

    class Input:
        def __init__(self, id, **given):
            assert set(given) <= set(shared), given
            self.id, self.io_type, self.given = id, name, given

    class Output:
        def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
            self.id, self.io_type, self.display_name = id, name, display_name

    return type(name, (), {"Input": Input, "Output": Output})


NUMBER = ("min", "max", "step", "control_after_generate", "display_mode")
Model, Conditioning, Latent = kind("MODEL"), kind("CONDITIONING"), kind("LATENT")
Sampler, Sigmas = kind("SAMPLER"), kind("SIGMAS")
String = kind("STRING", "multiline", "placeholder")
Int, Float, Combo = kind("INT", *NUMBER), kind("FLOAT", *NUMBER, "round"), kind("COMBO", "options")


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False

    def __post_init__(self):
        ids = [one.id for one in (*self.inputs, *self.outputs)]
        assert len(set(ids)) == len(ids), ids


class NodeOutput:
    def __init__(self, *args, ui=None, expand=None, block_execution=None):
        self.args = args


class ComfyNode:
    @classmethod
    def define_schema(cls):
        raise NotImplementedError
