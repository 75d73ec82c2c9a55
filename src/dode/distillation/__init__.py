"""`dode.distill`: the fit of the paper, what is asked of it, the teacher's runs, and the runner around the fit."""
