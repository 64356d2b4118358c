// What the page was given, and how it says a figure.

const data = JSON.parse(document.getElementById("data").textContent);
const costs = new Map(data.costs.map((cost) => [cost.key, cost]));
for (const row of data.devices.flatMap(({ rows }) => rows)) {
  for (const key of costs.keys()) row[key] ??= Infinity; // not known: it fits no limit
  for (const key of costs.keys()) if (row.smaller) row.smaller[key] ??= Infinity;
}
const opening = { ...data.budget, objective: data.objective }; // the budget that the page opens with
const state = { ...structuredClone(opening), device: 0, curves: {}, paper: false };

const number = (value, digits) =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Say a figure without its unit. */
function figure(key, value) {
  if (!Number.isFinite(value)) return "not known";
  if (key in data.titles) return number(value, 3);
  const digits = key.endsWith("_ms") ? (value < 10 ? 2 : value < 100 ? 1 : 0) : value < 100 ? 1 : 0;
  return number(value, digits);
}

const unitOf = (key) => costs.get(key)?.unit ?? (key.endsWith("_ms") ? "ms" : "");
const nameOf = (key) => data.titles[key] ?? costs.get(key)?.short ?? key;
const withUnit = (key, value) =>
  `${figure(key, value)}${Number.isFinite(value) && unitOf(key) ? ` ${unitOf(key)}` : ""}`;
const limitWithUnit = ({ key, limit }) => `${Number(limit.toPrecision(4))} ${unitOf(key)}`.trim();
const percent = (share) => `${number(100 * share, share !== 1 && (share < 0.0995 || share > 0.9) ? 1 : 0)}%`;
const several = (count, one) => `${number(count, 0)} ${one}${count === 1 ? "" : "s"}`;

/** Say the interval of a figure, or nothing where a row has none. */
function interval(row, key) {
  const ends = row.intervals[key];
  return ends ? `${figure(key, ends[0])}–${figure(key, ends[1])}` : "";
}
