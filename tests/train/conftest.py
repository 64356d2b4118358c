import csv

import numpy as np
import pytest


@pytest.fixture
def letters(tmp_path):
    """Pairs whose positive is the query backwards, labelled by the first letter's half of the alphabet."""
    random = np.random.default_rng(0)
    path = tmp_path / "letters.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "positive", "label"])
        for _ in range(120):
            word = "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6))
            writer.writerow([word, word[::-1], "low" if word[0] < "n" else "high"])
    return path
