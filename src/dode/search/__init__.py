"""`dode.auto`: plain solvers to start from, refinement of the end point, and what a search may spend."""
