"""A model or bundle on a task's own labels, by dimension and depth, beside the baselines that it must beat."""
