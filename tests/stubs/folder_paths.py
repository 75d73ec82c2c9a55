"""ComfyUI's folders, for tests."""

import tempfile

folder = tempfile.mkdtemp()


def get_output_directory():
    return folder
