"""Optimizers: each a state, its first state and a pure update of it."""
