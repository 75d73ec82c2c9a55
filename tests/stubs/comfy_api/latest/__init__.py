"""The names of comfy_api.latest that dode's nodes use."""

from comfy_api.latest import io as io


class ComfyExtension:
    async def on_load(self):
        pass

    async def get_node_list(self):
        raise NotImplementedError
