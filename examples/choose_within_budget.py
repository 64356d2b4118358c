"""Let `mrl-edge pick` choose a configuration within a budget, and run it.

    python examples/choose_within_budget.py quickstart/results.json quickstart/bundle --max-rss-mb 150 --max-p50-ms 5

Exit code 3: nothing fits. What follows the bundle goes to `mrl-edge pick` as it is.
"""

import json
import subprocess
import sys

import mrl_edge


def choose(results: str, budget: list[str]) -> dict[str, object]:
    """Return the chosen configuration: precision, depth, dim and threads among it; leaves where there is none."""
    command = [sys.executable, "-m", "mrl_edge", "pick", results, *budget, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 3:
        print("\n".join(json.loads(done.stdout)["why"]))
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)["configuration"]


def main() -> None:
    """Print what was chosen, and the embedding of a text by it."""
    if len(sys.argv) < 3:
        sys.exit("usage: choose_within_budget.py RESULTS BUNDLE [options of mrl-edge pick]")
    results, bundle, *budget = sys.argv[1:]
    chosen = choose(results, budget)
    kept = {name: chosen[name] for name in ("dim", "precision", "depth", "threads")}
    encoder = mrl_edge.load(bundle, **kept)
    vector = encoder.encode(["a small stringed instrument"])[0]  # float32 [dim], of length 1
    print(json.dumps(kept))
    print(f"{len(vector)} numbers, the first of them {vector[0]:.4f}")


if __name__ == "__main__":
    main()
