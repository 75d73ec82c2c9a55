"""The settings of the suite, for every test here."""

from suite import no_gradients as no_gradients
