"""Descent: losses and steps, single-entry SGD, step sizes by layer, schedules and gradient flow."""
