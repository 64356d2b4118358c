"""A bundle and a choice → the smallest folder that does the job on a board, checked where it will not find us."""
