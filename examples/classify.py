"""Classify texts by the smallest dimension that is sure enough: adaptive classification of the MRL paper, section 4.2.

    python examples/classify.py quickstart/bundle "a small stringed instrument" "the capital of France" --sure 0.9

One pass over the encoder gives the classes at every dimension. `mrl-edge evaluate` fits a threshold for each on data
of your own, and says what the cascade keeps of the full dimension's accuracy; here all have the same one.
"""

import argparse

from mrl_edge.cascade import Cascade
from mrl_edge.encoder import load_nested


def main() -> None:
    """Print each text's class, how probable it is, and the dimension that decided."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--sure", type=float, default=0.9, help="probability from which on a dimension is believed")
    given = parser.parse_args()
    encoder = load_nested(given.bundle)
    cascade = Cascade(encoder.dims, (given.sure,) * (len(encoder.dims) - 1))
    probabilities = encoder.classify(given.texts)  # float32 [n, classes] for every dimension
    answers = cascade.decide(probabilities)
    for row, (text, number, dim) in enumerate(zip(given.texts, answers.classes, answers.dims, strict=True)):
        probability = probabilities[int(dim)][row, number]
        print(f"{text}: {encoder.classes[number]} ({probability:.3f}, dimension {dim})")


if __name__ == "__main__":
    main()
