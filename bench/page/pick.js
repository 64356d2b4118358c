// The choice within a budget as mrl_edge/bench/pick.py makes it; a test holds the two against each other.

/** What a limit is held against: the figure, or its bound at a confidence, the `at`-th of those that rows know. */
function heldAgainst(row, { key, kind }, at) {
  if (at === null || kind === "share") return row[key]; // the full model answered the same queries
  const bound = row.bounds[at][key];
  return bound === undefined ? row[key] : (bound ?? Infinity);
}

/**
 * How far a row misses each limit {key, limit, kind: "max" | "min" | "share"}: `share` is of the limit. Of two floors
 * on a metric that are both missed the higher counts, and what is held against either. A share's limit is infinite
 * where no full model is known.
 */
function excesses(row, limits, at) {
  const missed = new Map();
  for (const { key, limit, kind } of limits) {
    const value = heldAgainst(row, { key, kind }, at);
    const over = kind === "max" ? value - limit : limit - value;
    if (!(over > 0)) continue;
    missed.set(key, missBy({ key, limit, kind, value, over }, kind === "share" ? missed.get(key) : undefined));
  }
  return [...missed.values()];
}

/** Return a missed limit with its share; of a metric whose other floor is missed too, what would meet both. */
function missBy(one, other) {
  const held = other && other.value < one.value ? { ...one, value: other.value, kind: other.kind } : { ...one };
  if (other) held.limit = Math.max(one.limit, other.limit);
  held.over = other ? held.limit - held.value : one.over;
  return { ...held, share: Number.isFinite(held.over) ? held.over / (held.limit || 1e-9) : Infinity };
}

/**
 * Choose the row with the best objective of those that miss no limit; equals are decided by time, memory, disk, then
 * by their order. Rows are named by their place in `rows`; `chosen` is null where nothing fits, `nearest` where
 * something does, and `nextBetter` misses limits by the least share.
 */
function pick(rows, limits, objective, at) {
  const all = rows.map((_, place) => place);
  const over = rows.map((row) => excesses(row, limits, at));
  const cost = (place) => orderOf(rows[place], objective);
  const worst = (place) => [Math.max(...over[place].map((one) => one.share)), ...cost(place)];
  const fitting = all.filter((place) => over[place].length === 0);
  const chosen = least(fitting, cost);
  const better = chosen === null ? [] : all.filter((place) => rows[place][objective] > rows[chosen][objective]);
  return {
    limits,
    fitting,
    chosen,
    over,
    nearest: chosen === null ? least(all, worst) : null,
    nextBetter: least(better, worst),
    front: front(fitting, cost),
  };
}

/** What is least of the row to choose: equals in the objective are decided by time, memory, disk. */
const orderOf = (row, objective) => [-row[objective], row.p50_ms, row.peak_rss_mb, row.disk_mb];

/** Return the places that none is at least as good as in everything and better in something, the best first. */
function front(places, cost) {
  const keys = new Map(places.map((place) => [place, cost(place)]));
  const beats = (a, b) => a.every((value, i) => value <= b[i]) && a.some((value, i) => value < b[i]);
  const unbeaten = places.filter((place) => !places.some((other) => beats(keys.get(other), keys.get(place))));
  return unbeaten.sort((a, b) => (before(keys.get(a), keys.get(b)) ? -1 : before(keys.get(b), keys.get(a)) ? 1 : 0));
}

/** Return the first place whose key none precedes, or null of none. */
function least(places, key) {
  let found = null;
  for (const place of places) if (found === null || before(key(place), key(found))) found = place;
  return found;
}

function before(a, b) {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] < b[i];
  return false;
}
