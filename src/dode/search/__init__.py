"""What "auto" does: starts, refinement of the end point, and what a search may spend."""
