"""Progress."""


class ProgressBar:
    seen = []  # noqa: RUF012

    def __init__(self, total, node_id=None):
        self.total = total

    def update_absolute(self, value, total=None, preview=None):
        self.seen.append((value, total))
