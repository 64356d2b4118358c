"""From a trained model folder to a verified bundle: one trunk a precision, one small graph a dimension."""
