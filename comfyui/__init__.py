"""dode's nodes for ComfyUI: copy or link this folder into ComfyUI/custom_nodes and install dode beside ComfyUI."""

import comfy.samplers

from dode.integrations.comfyui.nodes import described, v1, v3

NODES = described(list(comfy.samplers.SCHEDULER_NAMES))

try:
    from comfy_api.latest import ComfyExtension, io
except ImportError:  # ComfyUI before V3: it reads the mappings, and newer ones would prefer them to the entry point
    NODE_CLASS_MAPPINGS = {node.name: v1(node) for node in NODES}
    NODE_DISPLAY_NAME_MAPPINGS = {node.name: node.title for node in NODES}
else:

    class DODEExtension(ComfyExtension):
        """The nodes, for ComfyUI's V3 loader."""

        async def get_node_list(self) -> list[type]:
            return [v3(node, io) for node in NODES]

    async def comfy_entrypoint() -> DODEExtension:
        """What ComfyUI calls to load the nodes."""
        return DODEExtension()
