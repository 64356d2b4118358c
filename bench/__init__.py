"""Measuring a bundle's configurations on a machine, and choosing among them. Never imports torch."""
