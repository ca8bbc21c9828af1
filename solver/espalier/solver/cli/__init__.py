"""Every command of the solver."""
