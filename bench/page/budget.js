// The budget: a slider and a number for every limit, and the address, which holds them.

const wrong = new Map(); // by control: what was typed and is no limit

/** Return the limits on a device's rows as `pick` reads them, in the order of its options. */
function limitsOf(device) {
  const metrics = Object.keys(data.floors),
    full = fullModel(device);
  return [
    ...[...costs.keys()].filter((key) => key in state.max).map((key) => ({ key, limit: state.max[key], kind: "max" })),
    ...metrics.filter((key) => key in state.min).map((key) => ({ key, limit: state.min[key], kind: "min" })),
    ...kept().map((key) => {
      return { key, limit: full ? state.keep[key] * full[key] : Infinity, kind: "share", full: full?.[key] };
    }),
  ];
}

const kept = () => Object.keys(data.keeps).filter((key) => key in state.keep);

/** Return the metrics of what shares are of: of those that have all, the best by the first; nothing of none. */
function fullModel({ full }) {
  const whole = full.filter((one) => kept().every((key) => key in one));
  return whole[least([...whole.keys()], (i) => [-whole[i][kept()[0]]])];
}

/** Return the best of a metric that a full model has, or nothing. */
function fullOf({ full }, key) {
  const values = full.filter((one) => key in one).map((one) => one[key]);
  return values.length ? Math.max(...values) : undefined;
}

/** Return the values that a limit may part, of all devices; where none is known, the limit itself. */
function valuesOf(kind, key) {
  const values = data.devices.flatMap((device) =>
    device.rows.map((row) => (kind === "keep" ? row[key] / fullOf(device, key) : row[key])),
  );
  const known = values.filter(Number.isFinite);
  return known.length || limitOf(kind, key) === null ? known : [limitOf(kind, key)];
}

/** The slider's ends: a step below the least nothing fits, at the other end everything does. */
function domain(kind, values) {
  const low = Math.min(...values),
    high = kind === "keep" ? 1 : Math.max(...values);
  const step = kind === "keep" ? 0.01 : niceStep((high - low || high || 1) / 120);
  const digits = decimalsOf(step),
    round = (value) => Number(value.toFixed(digits));
  const end = round((Math.ceil(high / step - 1e-9) + (kind === "min" ? 1 : 0)) * step);
  const to = kind === "max" ? end : Math.min(1, end);
  const lowest = round(Math.max(0, (Math.floor(low / step) - (kind === "max" ? 1 : 0)) * step));
  const from = lowest < to ? lowest : round(Math.max(0, to - step)); // where all are one value, a step lies below it
  return { from, to: Math.max(to, round(from + step)), step, free: kind === "max" ? Math.max(to, high) : from };
}

function controls() {
  return [...document.querySelectorAll(".control[data-kind]")].map((element) => ({
    element,
    kind: element.dataset.kind,
    key: element.dataset.key,
    exact: element.querySelector("input[type=number]"),
    slider: element.querySelector("input[type=range]"),
    rug: element.querySelector("svg"),
    said: element.querySelector(".wrong"),
  }));
}

/** Set the sliders' ends and the marks above them, and hear what the reader does. */
function openBudget(changed) {
  for (const control of controls()) {
    const { kind, key, exact, slider } = control;
    exact.addEventListener("input", () => {
      const empty = exact.value.trim() === "" && !exact.validity.badInput;
      setLimit(kind, key, empty || !exact.validity.valid ? null : exact.valueAsNumber);
      const expected = `Expected a number from 0${kind === "max" ? "" : " to 1"}: no limit.`;
      showWrong(control, exact.validity.valid ? "" : expected);
      showSlider(control);
      changed();
    });
    slider.addEventListener("input", () => {
      const { free } = domain(kind, valuesOf(kind, key)),
        value = slider.valueAsNumber;
      const held = kind === "max" ? value < Number(slider.max) : value > free;
      setLimit(kind, key, held ? value : null);
      exact.value = held ? slider.value : "";
      showWrong(control, "");
      showSlider(control);
      changed();
    });
  }
  document.getElementById("objective").addEventListener("change", (event) => {
    state.objective = event.target.value;
    showBudget();
    changed();
  });
  document.getElementById("confidence").addEventListener("change", (event) => {
    state.confidence = event.target.value === "" ? null : Number(event.target.value);
    changed();
  });
  document.getElementById("clear").addEventListener("click", () => {
    Object.assign(state, { max: {}, min: {}, keep: {}, confidence: null });
    showBudget();
    changed();
  });
  document.getElementById("budget").addEventListener("submit", (event) => event.preventDefault());
}

const limitOf = (kind, key) => state[kind][key] ?? null;

function setLimit(kind, key, value) {
  if (value === null) delete state[kind][key];
  else state[kind][key] = value;
}

/** Say beside a field that what it holds is no limit, or nothing. */
function showWrong({ kind, key, exact, said }, text) {
  said.textContent = text;
  if (text) {
    exact.setAttribute("aria-invalid", "true");
    wrong.set(`${kind} ${key}`, kind === "keep" ? `the share of full ${nameOf(key)}` : nameOf(key));
  } else {
    exact.removeAttribute("aria-invalid");
    wrong.delete(`${kind} ${key}`);
  }
}

/** Put the state into the form. */
function showBudget() {
  document.getElementById("objective").value = state.objective;
  document.getElementById("confidence").value = state.confidence ?? "";
  for (const control of controls()) {
    const { element, kind, key, exact } = control,
      values = valuesOf(kind, key);
    showWrong(control, "");
    exact.value = limitOf(kind, key) ?? "";
    const asked = !("seldom" in element.dataset) || key === state.objective || limitOf(kind, key) !== null;
    element.hidden = !values.length || !asked;
    if (!values.length) continue;
    const { from, to, step } = domain(kind, values);
    Object.assign(control.slider, { min: from, max: to, step });
    const marks = values.map((value) => `M${1000 * Math.min(1, Math.max(0, (value - from) / (to - from)))} 0V8`);
    control.rug.replaceChildren(draw("path", { d: marks.join("") }));
    showSlider(control);
  }
}

function showSlider({ element, kind, key, slider }) {
  const limit = limitOf(kind, key);
  element.classList.toggle("free", limit === null);
  slider.value = limit ?? (kind === "max" ? slider.max : slider.min);
  const said = kind === "keep" ? percent(limit ?? 0) : withUnit(key, limit ?? 0);
  slider.setAttribute(
    "aria-valuetext",
    limit === null ? "no limit" : `${kind === "max" ? "at most" : "at least"} ${said}`,
  );
}

/** Write the budget into the address, where it is not the page's own, so that a link or a bookmark keeps it. */
function writeAddress() {
  const wanted = sameBudget(state, opening) ? "" : `#${addressOf(state)}`;
  if (wanted !== location.hash && (wanted || location.hash.includes("=")))
    history.replaceState(null, "", wanted || "#");
}

function addressOf(budget) {
  const found = new URLSearchParams();
  for (const kind of ["max", "min", "keep"])
    for (const [key, limit] of Object.entries(budget[kind])) found.set(`${kind}.${key}`, limit);
  if (budget.confidence !== null) found.set("confidence", budget.confidence);
  if (budget.objective !== data.objective) found.set("objective", budget.objective);
  return found.size ? String(found) : "budget=none";
}

const sameBudget = (a, b) => addressOf(a).split("&").sort().join() === addressOf(b).split("&").sort().join();

/** Take what the address says, as far as it makes sense; without it the page's own budget. */
function readAddress() {
  Object.assign(state, structuredClone(opening));
  if (!location.hash.includes("=")) return;
  Object.assign(state, { max: {}, min: {}, keep: {}, confidence: null });
  const found = new URLSearchParams(location.hash.slice(1));
  if (data.objectives.includes(found.get("objective"))) state.objective = found.get("objective");
  if (found.has("keep")) found.set(`keep.${state.objective}`, found.get("keep")); // as earlier pages wrote it
  const confidence = Number(found.get("confidence"));
  if (data.confidences.includes(confidence)) state.confidence = confidence;
  for (const { kind, key } of controls()) {
    const text = found.get(`${kind}.${key}`),
      value = Number(text);
    if (text !== null && text.trim() !== "" && value >= 0 && Number.isFinite(value) && (kind === "max" || value <= 1))
      setLimit(kind, key, value);
  }
}

/** Return the command line's options for the budget. */
function options() {
  const words = data.costs
    .filter(({ key }) => key in state.max)
    .map(({ key, option }) => `${option} ${state.max[key]}`);
  for (const [limits, names] of [
    [state.min, data.floors],
    [state.keep, data.keeps],
  ])
    for (const [key, option] of Object.entries(names)) if (key in limits) words.push(option + limits[key]);
  if (state.confidence !== null) words.push(`--confidence ${state.confidence}`);
  words.push(`--objective ${state.objective}`);
  return words.join(" ");
}

/** Say the budget in a line, for print and for who does not see the sliders. */
function budgetInWords() {
  const words = data.costs
    .filter(({ key }) => key in state.max)
    .map(({ key }) => `${nameOf(key)} ≤ ${+state.max[key]} ${unitOf(key)}`);
  words.push(...Object.entries(state.min).map(([key, limit]) => `${nameOf(key)} ≥ ${limit}`));
  words.push(...kept().map((key) => `≥ ${percent(state.keep[key])} of the full model's ${nameOf(key)}`));
  const sizes = data.corpora.map(({ documents, when }) => `${number(documents, 0)} documents ${when}`);
  const limits = [words.length ? words.join(", ") : "no limits", ...sizes].join(", ");
  return state.confidence === null ? limits : `${limits}, held by the ${percent(state.confidence)} bound`;
}

/** Say which fields hold no number, and limit nothing. */
const wrongInWords = () => (wrong.size ? ` Not a number, and no limit: ${[...wrong.values()].join(", ")}.` : "");
