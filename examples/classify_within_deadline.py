"""Classify texts within a deadline: few layers first, all of them for a text whose class is not sure, if there is time.

    python examples/classify_within_deadline.py bundle "a small stringed instrument" --sure 0.9 --deadline-ms 5

For a bundle with exits after layers (`mrl-edge train --fine-tune --depths 3,6`): each is a pass of its own. The
dimensions of one exit come from one pass, and have no time to save: `classify.py`.
"""

import argparse

from mrl_edge.bundle import open_bundle
from mrl_edge.bundle_levels import adaptive_classes
from mrl_edge.cascade import AdaptiveClassifier


def main() -> None:
    """Print each text's class, how probable it is, which level decided, and why none better did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--sure", type=float, default=0.9, help="probability from which on a level is believed")
    parser.add_argument("--deadline-ms", type=float, default=5.0)
    given = parser.parse_args()
    manifest = open_bundle(given.bundle).manifest
    levels = [(manifest.dims[-1], depth) for depth in reversed(manifest.depths)]  # best first
    ways = adaptive_classes(given.bundle, levels, threads=1)
    classify = AdaptiveClassifier(ways, (given.sure,) * (len(levels) - 1), manifest.classes)
    classify.warm_up(given.texts[0])
    for text in given.texts:
        answer = classify(text, given.deadline_ms)
        chosen = answer.value
        print(f"{text}: {chosen.name} ({chosen.probability:.3f}, {answer.level}, {answer.ms:.2f} ms, {answer.stopped})")


if __name__ == "__main__":
    main()
