// The figures: quality against each cost, curves by dimension, baselines, devices.

const FOUND_BY = ["search", "depth", "threads", "runtime"]; // what a curve's rows have in common, beside precision
const KEYS = "Arrow keys go from point to point; all are in the tables.";
const precisions = [...new Set(data.devices.flatMap(({ rows }) => rows.map((row) => row.precision)))];
const tone = (precision) => precisions.indexOf(precision) % 6;

function showScatters(choices) {
  const file = data.devices[state.device],
    choice = choices[state.device],
    key = state.objective;
  const fits = new Set(choice.fitting),
    limits = choice.limits.filter(({ limit }) => Number.isFinite(limit));
  document.getElementById("costs-of").textContent = `Shown: ${file.label}.`;
  for (const box of document.querySelectorAll("[data-cost]")) {
    const cost = box.dataset.cost;
    const points = file.rows.map((row, place) => point(row, cost, fits.has(place), place === choice.chosen));
    const shaded = limits
      .filter((one) => one.key === cost)
      .map(({ limit, kind }) => ({ axis: "x", value: limit, kind }));
    shaded.push(
      ...limits.filter((one) => one.key === key).map(({ limit, kind }) => ({ axis: "y", value: limit, kind })),
    );
    const step = stepOf(
      choice.fitting.map((place) => file.rows[place]),
      cost,
      key,
    );
    const picked =
      choice.chosen === null
        ? "nothing fits the budget"
        : `the pick has ${withUnit(cost, file.rows[choice.chosen][cost])}`;
    scatter(box, {
      points,
      step,
      limits: shaded,
      label: `${nameOf(key)} against ${nameOf(cost)} of ${several(points.length, "configuration")}; ${picked}. ${KEYS}`,
      x: axisOver(
        points.flatMap(({ x, low, high }) => [x, low ?? x, high ?? x]).filter(Number.isFinite),
        { count: 6 },
      ),
      y: axisOver(
        points.map(({ y }) => y),
        { log: false },
      ),
      xTitle: `${nameOf(cost)}, ${unitOf(cost)}`,
      yTitle: nameOf(key),
    });
  }
  for (const list of document.querySelectorAll("[data-legend]"))
    list.replaceChildren(
      ...legend(
        precisions
          .filter((name) => file.rows.some((row) => row.precision === name))
          .map((name) => [name, tone(name), tone(name)]),
      ),
    );
}

function point(row, cost, fits, chosen) {
  const ends = row.intervals[cost] ?? [];
  const key = state.objective,
    said = interval(row, key);
  const lines = [
    row.name,
    `${nameOf(key)} ${figure(key, row[key])}${said ? ` (95%: ${said})` : ""}`,
    `${nameOf(cost)} ${withUnit(cost, row[cost])}${row.intervals[cost] ? ` (95%: ${interval(row, cost)})` : ""}`,
  ];
  lines.push(chosen ? "the pick" : fits ? "fits the budget" : "does not fit the budget");
  return {
    x: row[cost],
    y: row[key],
    low: ends[0],
    high: ends[1],
    tone: tone(row.precision),
    mark: tone(row.precision),
    quiet: !fits,
    chosen,
    lines,
  };
}

/** Return the points that no cheaper one equals, cheapest first. */
function stepOf(rows, cost, key) {
  const found = [];
  for (const row of [...rows].sort((a, b) => a[cost] - b[cost] || b[key] - a[key])) {
    if (!found.length || row[key] > found[found.length - 1].y) found.push({ x: row[cost], y: row[key] });
  }
  return found;
}

function legend(entries) {
  return entries.map(([name, shade, mark]) => {
    const swatch = draw(
      "svg",
      { viewBox: "-8 -8 16 16", "aria-hidden": "true" },
      draw("path", { class: `mark tone-${shade}`, d: MARKS[mark % MARKS.length] }),
    );
    return make("li", {}, swatch, name);
  });
}

/** What the curves' rows have in common: what the reader chose, else what the pick has. */
function commonOf(rows, picked) {
  return Object.fromEntries(
    FOUND_BY.map((name) => {
      const there = valuesBy(rows, name),
        chosen = state.curves[name];
      return [name, there.includes(chosen) ? chosen : String(picked[name])];
    }),
  );
}

const valuesBy = (rows, name) => [...new Set(rows.map((row) => String(row[name])))];

function showCurves(choices) {
  const file = data.devices[state.device],
    choice = choices[state.device];
  const common = commonOf(file.rows, file.rows[choice.chosen ?? choice.nearest]);
  showSelects(file.rows, common);
  document.getElementById("dimensions-of").textContent = `Shown: ${file.label}, ${formInWords(common)}.`;
  for (const box of document.querySelectorAll("[data-curve]")) {
    const key = box.dataset.curve === "quality" ? state.objective : box.dataset.curve;
    const series = precisions.map((name) => ({
      name,
      tone: tone(name),
      mark: tone(name),
      points: byDimension(file.rows, { ...common, precision: name }, key, name),
    }));
    drawCurves(
      box,
      key,
      series.filter(({ points }) => points.length),
    );
  }
}

function fromTo({ name, points }, key) {
  const [first, last] = [points[0], points.at(-1)];
  return `${name} from ${withUnit(key, first.y)} at ${first.x} to ${withUnit(key, last.y)} at ${last.x}`;
}

function drawCurves(box, key, series) {
  const points = series.flatMap((one) => one.points),
    dims = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  if (!points.length) return box.replaceChildren(make("p", { class: "quiet" }, "Not measured in this form."));
  const values = points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]);
  curves(box, {
    series,
    label: `${LONG[key] ?? nameOf(key)} by dimension: ${series.map((one) => fromTo(one, key)).join("; ")}. ${KEYS}`,
    x: { log: true, min: dims[0] / 1.15, max: dims.at(-1) * 1.15, ticks: dims },
    y: axisOver(values, { zero: true, log: false, count: 4 }),
    xTitle: "dimension",
    yTitle: key in data.titles ? nameOf(key) : `${LONG[key] ?? nameOf(key)}, ${unitOf(key)}`,
    height: 230,
  });
}

const LONG = { encode_ms: "encoding alone, p50" };

function byDimension(rows, common, key, name) {
  const found = new Map();
  for (const row of rows) {
    if (Object.entries(common).some(([field, value]) => String(row[field]) !== value) || found.has(row.dim)) continue;
    const [low, high] = row.intervals[key] ?? [],
      said = interval(row, key);
    const lines = [`${name} at ${row.dim}`, `${LONG[key] ?? nameOf(key)} ${withUnit(key, row[key])}`];
    if (Number.isFinite(row[key]))
      found.set(row.dim, { x: row.dim, y: row[key], low, high, lines: said ? [...lines, `95%: ${said}`] : lines });
  }
  return [...found.values()].sort((a, b) => a.x - b.x);
}

const FORM = {
  search: (value) => (value === "null" ? "no search" : `${value} search`),
  depth: (value) => `${value} layers`,
  threads: (value) => `${value} thread${value === "1" ? "" : "s"}`,
  runtime: (value) => value || "default runtime",
};
const formInWords = (common) => FOUND_BY.map((name) => FORM[name](common[name])).join(", ");

function showSelects(rows, common) {
  for (const select of document.querySelectorAll("[data-by]")) {
    const name = select.dataset.by,
      there = valuesBy(rows, name);
    select.closest("label").hidden = there.length < 2;
    select.replaceChildren(
      ...there.map((value) => make("option", { value, selected: value === common[name] ? "" : null }, FORM[name](value))),
    );
  }
}

function showBaselines() {
  for (const box of document.querySelectorAll("[data-baseline]")) {
    const { metric, title, dims, rows } = data.baselines[box.dataset.baseline];
    const series = rows.map(([name, values], i) => ({
      name,
      tone: i % 6,
      mark: i,
      points: dims
        .map((dim, j) => ({
          x: dim,
          y: values[j],
          lines: [`${name} at ${dim}`, `${title} ${values[j] === null ? "" : figure(metric, values[j])}`],
        }))
        .filter(({ y }) => y !== null),
    }));
    drawCurves(
      box,
      metric,
      series.filter(({ points }) => points.length),
    );
    box.parentElement.querySelector(".legend").replaceChildren(...legend(rows.map(([name], i) => [name, i % 6, i])));
  }
}

function showDevices(choices) {
  const named = document.getElementById("devices-of");
  if (!named) return;
  const devices = data.beside.map((place) => data.devices[place]),
    choice = choices[data.beside[0]];
  const like = devices[0].rows[choice.chosen ?? choice.nearest];
  const common = Object.fromEntries(FOUND_BY.map((name) => [name, String(like[name])]));
  for (const box of document.querySelectorAll("[data-devices]")) {
    const key = box.dataset.devices;
    const series = devices.map(({ rows, label }, place) => ({
      name: label,
      tone: place % 6,
      mark: place,
      points: byDimension(rows, { ...common, precision: like.precision }, key, label),
    }));
    drawCurves(
      box,
      key,
      series.filter(({ points }) => points.length),
    );
  }
  const which = choice.chosen === null ? "what comes nearest" : "the pick";
  const form = `${like.precision}, ${formInWords(common)}`;
  named.textContent = `Shown: ${form}, as ${which} on ${devices[0].label}, at every dimension.`;
  document
    .getElementById("devices-legend")
    .replaceChildren(...legend(devices.map(({ label }, i) => [label, i % 6, i])));
}
