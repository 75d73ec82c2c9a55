"""`python -m dode`, and `torchrun -m dode` for several processes."""

from dode.cli import main

if __name__ == "__main__":
    main()
