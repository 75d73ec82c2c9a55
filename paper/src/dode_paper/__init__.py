"""The paper around `dode`: its networks, its tables and figures, and networks trained to need few steps."""
