// What a choice leaves open, as mrl_edge/bench/trades.py says it; a test holds the two against each other.

const WEIGHTS = ["p50_ms", "peak_rss_mb", "disk_mb"]; // the axes of the front, beside the objective

/** A limit of five figures that a value meets: a cost's above it, a floor below it. */
function thatFits(key, value) {
  const unit = Number(`1e${Math.floor(Math.log10(Math.abs(value) || 1)) - 4}`);
  const steps = value / unit;
  return Number(((key in data.titles ? Math.floor(steps) : Math.ceil(steps)) * unit).toFixed(12));
}

const five = (value) => String(Number(value.toPrecision(5)));
const isFloor = ({ kind }) => kind !== "max";

/** The rows that miss a limit on this figure and no other, with how they do. */
function missingAlone({ over }, key) {
  return over
    .map((missed, place) => ({ place, missed: missed[0], alone: missed.length === 1 }))
    .filter(({ missed, alone }) => alone && missed.key === key);
}

/** A limit a figure: of two floors on a metric the higher one. */
function limitsByFigure({ limits }) {
  const found = new Map();
  for (const one of limits) if (!(found.get(one.key)?.limit > one.limit)) found.set(one.key, one);
  return [...found.values()];
}

/** Say what share of the full model's a floor is, where a share was asked for: rounded down, so that it fits. */
function asShare({ limits }, key, floor) {
  const full = limits.find((one) => one.key === key && one.full)?.full;
  return full ? ` (a share of ${Math.floor((1e4 * floor) / full) / 1e4})` : "";
}

/** Say for each limit the least that it alone would have to give for something to fit, or that it alone cannot help. */
function relaxations({ rows }, choice) {
  return limitsByFigure(choice).map((one) => {
    const { key, limit } = one;
    const unit = unitOf(key) && ` ${unitOf(key)}`;
    const alone = missingAlone(choice, key).filter(({ missed }) => Number.isFinite(missed.value));
    if (alone.length) {
      const { place, missed } = alone[least([...alone.keys()], (i) => [alone[i].missed.share, ...orderOf(rows[alone[i].place], state.objective)])];
      const to = five(thatFits(key, missed.value));
      const share = asShare(choice, key, to);
      return [`With ${nameOf(key)} ${to}${unit}${share} instead of ${four(limit)} it would be `, strong(rows[place]), "."];
    }
    const missed = choice.over.flatMap((over) => over.filter((other) => other.key === key));
    if (missed.length < rows.length)
      return [`${nameOf(key)} ${four(limit)}${unit} is met by some, which miss other limits: it alone cannot help.`];
    const known = missed.map(({ value }) => value).filter(Number.isFinite);
    if (!known.length) return [`${nameOf(key)} is known of no configuration.`];
    const best = four(isFloor(one) ? Math.max(...known) : Math.min(...known));
    return [`No configuration meets ${nameOf(key)} ${four(limit)}${unit}, whatever the rest: the best has ${best}.`];
  });
}

/** Say for each limit the least that giving way buys; a row that was named already is left out. */
function buys({ rows }, choice, named) {
  const key = state.objective,
    here = rows[choice.chosen][key];
  return limitsByFigure(choice).flatMap((one) => {
    const better = missingAlone(choice, one.key).filter(
      ({ place, missed }) => rows[place][key] > here && Number.isFinite(missed.value),
    );
    const nearest = least([...better.keys()], (i) => {
      const { place, missed } = better[i];
      return [isFloor(one) ? -missed.value : missed.value, ...orderOf(rows[place], key)];
    });
    if (nearest === null || better[nearest].place === named) return [];
    const { place, missed } = better[nearest];
    return [[`${needed(missed)} would buy ${figure(key, rows[place][key] - here)}: `, strong(rows[place]), "."]];
  });
}

/** Say what a limit would have to be for a row that misses it. */
function needed({ key, value, kind }) {
  if (!Number.isFinite(value)) return `no limit on ${nameOf(key)}, which is not known of it`;
  const to = five(thatFits(key, value));
  return kind === "max" ? `${nameOf(key)} up to ${to} ${unitOf(key)}` : `a floor of ${to} on ${nameOf(key)}`;
}

/** The saving of each weight, and of each cost that is limited, that costs least of the objective, by row. */
function savings({ rows }, choice) {
  const key = state.objective,
    row = rows[choice.chosen],
    found = new Map();
  for (const cost of costs.keys()) {
    if (!WEIGHTS.includes(cost) && !(cost in state.max)) continue;
    const less = choice.fitting.filter((place) => saves(rows[place], row, cost));
    const place = least(less, (one) => [-rows[one][key], rows[one][cost]]);
    if (place !== null) found.set(place, [...(found.get(place) ?? []), cost]);
  }
  return [...found].map(([place, saved]) => {
    const other = rows[place],
      lost = row[key] - other[key];
    const less = saved.map((cost) => `${withUnit(cost, row[cost] - other[cost])} less ${nameOf(cost)}`).join(" and ");
    const price = lost === 0 ? `costs no ${nameOf(key)}` : `costs ${figure(key, lost)} ${nameOf(key)}`;
    return [`${less} ${price}: `, strong(other), `, ${changes(row, other)}.`];
  });
}

/** Whether a row costs less by more than its measurement leaves open, or by a hundredth where that is not known. */
function saves(row, chosen, cost) {
  const [ours, theirs] = [row.intervals[cost], chosen.intervals[cost]];
  return ours && theirs ? ours[1] < theirs[0] : row[cost] < 0.99 * chosen[cost];
}

const four = (value) => String(Number(value.toPrecision(4)));
const within = (row, { key, limit }) => row.intervals[key]?.[0] <= limit && limit <= row.intervals[key][1];

/** Say which limits lie inside a row's intervals. */
function straddled(row, { limits }) {
  return limits
    .filter((one) => one.kind !== "share" && within(row, one))
    .map(({ key, limit }) => {
      const [low, high] = row.intervals[key].map(four);
      const kind = row.predicted ? "predicted" : "95%";
      const unit = unitOf(key) && ` ${unitOf(key)}`;
      const interval = `a ${kind} interval of ${low} to ${high}${unit}`;
      return `${nameOf(key)} ${four(row[key])}${unit} has ${interval}, which straddles ${four(limit)}`;
    });
}

/** Say which limits the intervals of the choice straddle, and which better row only the uncertainty decides of. */
function uncertain({ rows }, choice) {
  const key = state.objective,
    said = [];
  const here = choice.chosen === null ? null : rows[choice.chosen];
  if (here && !here.stable) said.push([`Its latency is not settled${doubtsOf(here)}: measure it again.`]);
  if (here) said.push(...straddled(here, choice).map((text) => [`It may not fit: its ${text}.`]));
  const close = rows.filter(
    (row, place) =>
      (here === null || row[key] > here[key]) &&
      choice.over[place].length &&
      choice.over[place].every((missed) => within(row, missed)),
  );
  const best = close[least([...close.keys()], (i) => [-close[i][key]])];
  if (!best) return said;
  const texts = straddled(best, choice);
  const more = close.length > 1 ? `, as may ${close.length - 1} more` : "";
  const why = texts.length ? texts : choice.over[rows.indexOf(best)].map((missed) => missedInWords(missed));
  said.push([strong(best), ` may fit after all${more}: its ${why.join("; ")}.`]);
  return said;
}

const doubtsOf = ({ doubts }) => (doubts.length ? ` (${doubts.join(", ")})` : "");

/** Say how a limit is missed. */
function missedInWords({ key, limit, kind, value, over }) {
  const allowed = limitWithUnit({ key, limit });
  if (limit === Infinity) return `${nameOf(key)}: no full model was measured to keep a share of`;
  if (!Number.isFinite(value)) {
    const why = key === "p50_ms" ? " to within an interval" : "";
    return `${nameOf(key)} is not known${why}, and ${allowed} is a limit on it`;
  }
  const bound = state.confidence !== null && kind !== "share" ? `the ${percent(state.confidence)} bound of ` : "";
  const by =
    kind === "max"
      ? `${withUnit(key, value)} is ${withUnit(key, over)} over the limit`
      : `${number(value, 4)} is ${number(over, 4)} below the floor`;
  return `${bound}${nameOf(key)} ${by} of ${allowed}`;
}
