"""A bundle and all it needs, brought to a machine that may have no internet, and taken away again."""
