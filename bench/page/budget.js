// The budget: a slider and a number for every limit, and the address, which holds them.

/** Return the limits on a file's rows as `pick` reads them; a share of the full model's quality is a floor. */
function limitsOf(file) {
  const limits = Object.entries(state.max).map(([key, limit]) => ({ key, limit, kind: "max" }));
  limits.push(...Object.entries(state.min).map(([key, limit]) => ({ key, limit, kind: "min" })));
  const full = file.full[state.objective];
  if (state.keep !== null && full !== undefined)
    limits.push({ key: state.objective, limit: state.keep * full, kind: "min" });
  return limits;
}

/** Return the values that a limit may part, of all files. */
function valuesOf(kind, key) {
  const values = data.files.flatMap(({ rows, full }) =>
    rows.map((row) => (kind === "keep" ? row[state.objective] / full[state.objective] : row[key])),
  );
  return values.filter(Number.isFinite);
}

/** The slider's ends: a step below the least nothing fits, at the other end everything does. */
function domain(kind, values) {
  const low = Math.min(...values),
    high = kind === "keep" ? 1 : Math.max(...values);
  const step = kind === "keep" ? 0.01 : niceStep((high - low || high || 1) / 120);
  const digits = decimalsOf(step),
    round = (value) => Number(value.toFixed(digits));
  const from = round(Math.max(0, (Math.floor(low / step) - (kind === "max" ? 1 : 0)) * step));
  const to = round((Math.ceil(high / step - 1e-9) + (kind === "min" ? 1 : 0)) * step);
  return { from, to: kind === "max" ? to : Math.min(1, to), step, free: kind === "max" ? Math.max(to, high) : from };
}

function controls() {
  return [...document.querySelectorAll(".control[data-kind]")].map((element) => ({
    element,
    kind: element.dataset.kind,
    key: element.dataset.key,
    exact: element.querySelector("input[type=number]"),
    slider: element.querySelector("input[type=range]"),
    rug: element.querySelector("svg"),
  }));
}

/** Set the sliders' ends and the marks above them, and hear what the reader does. */
function openBudget(changed) {
  for (const control of controls()) {
    const { kind, key, exact, slider } = control;
    exact.addEventListener("input", () => {
      const value = exact.value.trim() === "" && !exact.validity.badInput ? null : exact.valueAsNumber;
      if (value !== null && !exact.validity.valid) return;
      setLimit(kind, key, value);
      showSlider(control);
      changed();
    });
    slider.addEventListener("input", () => {
      const { free } = domain(kind, valuesOf(kind, key)),
        value = slider.valueAsNumber;
      const held = kind === "max" ? value < Number(slider.max) : value > free;
      setLimit(kind, key, held ? value : null);
      exact.value = held ? slider.value : "";
      showSlider(control);
      changed();
    });
  }
  document.getElementById("objective").addEventListener("change", (event) => {
    state.objective = event.target.value;
    showBudget();
    changed();
  });
  document.getElementById("clear").addEventListener("click", () => {
    Object.assign(state, { max: {}, min: {}, keep: null });
    showBudget();
    changed();
  });
  document.getElementById("budget").addEventListener("submit", (event) => event.preventDefault());
}

function limitOf(kind, key) {
  return (kind === "keep" ? state.keep : state[kind][key]) ?? null;
}

function setLimit(kind, key, value) {
  if (kind === "keep") state.keep = value;
  else if (value === null) delete state[kind][key];
  else state[kind][key] = value;
}

/** Put the state into the form. */
function showBudget() {
  document.getElementById("objective").value = state.objective;
  for (const control of controls()) {
    const { element, kind, key, exact } = control,
      values = valuesOf(kind, key);
    element.hidden = !values.length || (kind === "keep" && !(state.objective in data.keeps));
    if (element.hidden) {
      setLimit(kind, key, null);
      continue;
    }
    const { from, to, step } = domain(kind, values);
    Object.assign(control.slider, { min: from, max: to, step });
    const marks = values.map((value) => `M${1000 * Math.min(1, Math.max(0, (value - from) / (to - from)))} 0V8`);
    control.rug.replaceChildren(draw("path", { d: marks.join("") }));
    exact.value = limitOf(kind, key) ?? "";
    if (kind === "keep") element.querySelector("label").textContent = `share of full ${nameOf(state.objective)}`;
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

/** Write the budget into the address, so that a link or a bookmark keeps it. */
function writeAddress() {
  const found = new URLSearchParams();
  for (const kind of ["max", "min"])
    for (const [key, limit] of Object.entries(state[kind])) found.set(`${kind}.${key}`, limit);
  if (state.keep !== null) found.set("keep", state.keep);
  if (state.objective !== data.objective) found.set("objective", state.objective);
  const wanted = found.size ? `#${found}` : "";
  if (wanted !== location.hash && (wanted || location.hash.includes("=")))
    history.replaceState(null, "", wanted || "#");
}

/** Take what the address says, as far as it makes sense. */
function readAddress() {
  if (!location.hash.includes("=")) return;
  Object.assign(state, { max: {}, min: {}, keep: null, objective: data.objective });
  const found = new URLSearchParams(location.hash.slice(1));
  if (data.objectives.includes(found.get("objective"))) state.objective = found.get("objective");
  for (const { kind, key } of controls()) {
    const text = found.get(kind === "keep" ? "keep" : `${kind}.${key}`),
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
  words.push(...Object.entries(state.min).map(([key, limit]) => `${data.floors[key]} ${limit}`));
  if (state.keep !== null) words.push(`${data.keeps[state.objective]} ${state.keep}`);
  words.push(`--objective ${state.objective}`);
  return words.join(" ");
}

/** Say the budget in a line, for print and for who does not see the sliders. */
function budgetInWords() {
  const words = data.costs
    .filter(({ key }) => key in state.max)
    .map(({ key }) => `${nameOf(key)} ≤ ${+state.max[key]} ${unitOf(key)}`);
  words.push(...Object.entries(state.min).map(([key, limit]) => `${nameOf(key)} ≥ ${limit}`));
  if (state.keep !== null) words.push(`≥ ${percent(state.keep)} of the full model's ${nameOf(state.objective)}`);
  return words.length ? words.join(", ") : "no limits";
}
