// The answer: what to deploy on each device, what it costs, what it gives up, and what else there is.

function showAnswers(choices) {
  const picks = document.getElementById("picks");
  const folded = [...picks.children].map((old) => old.querySelector("details")?.open === false);
  const cards = data.devices.map((file, place) => card(file, choices[place]));
  cards.forEach((one, place) => folded[place] && one.querySelector("details")?.removeAttribute("open"));
  picks.replaceChildren(...cards);
  const said = data.devices.map((file, place) => inShort(file, choices[place]));
  document.getElementById("said").textContent = said.join("; ") + wrongInWords();
  document.getElementById("now").replaceChildren(...said.map((line) => make("span", {}, line)));
  document.getElementById("budget-said").textContent =
    `Budget: ${budgetInWords()}. Maximised: ${nameOf(state.objective)}.${wrongInWords()}`;
}

function inShort(file, { chosen }) {
  const device = data.devices.length > 1 ? `${file.label}: ` : "";
  if (chosen === null) return `${device}nothing fits`;
  const row = file.rows[chosen];
  return `${device}${row.name}: ${nameOf(state.objective)} ${figure(state.objective, row[state.objective])}`;
}

function card(file, choice) {
  const device = data.devices.length > 1 ? make("p", { class: "device" }, file.label) : null;
  if (choice.chosen === null) return make("article", { class: "pick none" }, device, ...nothing(file, choice));
  const row = file.rows[choice.chosen];
  return make(
    "article",
    { class: "pick" },
    device,
    make("h3", { class: "name" }, ...named(row)),
    make("p", { class: "why" }, why(file, choice)),
    data.corpora.length > 1 ? make("p", { class: "why" }, corporaInWords(row)) : null,
    ...uncertain(file, choice).map((line) => make("p", { class: "unsure" }, ...line)),
    stats(row, choice.limits),
    make("h4", {}, "What it gives up, and what it buys"),
    make("ul", { class: "trades" }, ...trades(file, choice).map((line) => make("li", {}, ...line))),
    along(file, choice),
  );
}

/** The name, its first part large. */
function named({ name }) {
  const [first, ...rest] = name.split(", ");
  const large = make("span", { class: "first" }, first);
  return rest.length ? [large, make("span", { class: "unseen" }, ", "), make("span", {}, rest.join(", "))] : [large];
}

function why({ rows }, { fitting }) {
  const title = nameOf(state.objective);
  if (fitting.length < rows.length)
    return `The best ${title} of the ${fitting.length} of ${rows.length} configurations that fit.`;
  return `The best ${title} of all ${several(rows.length, "configuration")}: no limit leaves one out.`;
}

/** Say which corpus the figures are of, and that those of the smaller one stand beside them. */
function corporaInWords({ smaller }) {
  const [small, held] = data.corpora.map(({ documents, when }) => `the ${number(documents, 0)} documents of ${when}`);
  const beside = smaller ? `those of ${small} stand beside them` : `with ${small} they are not known`;
  return `Limits are held with ${held}, and the figures are of them; ${beside}.`;
}

/** The figures of the pick, each beside its limit. */
function stats(row, limits) {
  const list = make("dl", { class: "stats" });
  const others = Object.keys(data.floors).filter((key) => key !== state.objective);
  const floored = others.filter((key) => limits.some((one) => one.key === key));
  for (const key of [state.objective, ...floored, ...costs.keys()]) {
    const value = make("dd", { class: "value" }, figure(key, row[key]));
    if (Number.isFinite(row[key]) && unitOf(key)) value.append(make("small", {}, ` ${unitOf(key)}`));
    const limit = limits.filter((one) => one.key === key).sort((a, b) => b.limit - a.limit)[0];
    const under = [];
    if (limit)
      under.push(make("dd", { class: "bar", "aria-hidden": "true", style: `--share: ${filled01(row[key], limit)}` }));
    const notes = [];
    if (limit) notes.push(`${limit.kind === "max" ? "at most" : "at least"} ${limitWithUnit(limit)}`);
    if (row.intervals[key]) notes.push(`95%: ${interval(row, key)}`);
    if (key in (row.smaller ?? {})) notes.push(`${data.corpora[0].when}: ${withUnit(key, row.smaller[key])}`);
    if (key === "p50_ms" && !row.stable) notes.push(`not settled ~${doubtsOf(row)}`);
    under.push(...notes.map((note) => make("dd", { class: "note" }, note)));
    list.append(
      make("div", key === state.objective ? { class: "main" } : {}, make("dt", {}, nameOf(key)), value, ...under),
    );
  }
  return list;
}

const filled01 = (value, { limit, kind }) => {
  const share = kind === "max" ? value / (limit || 1e-9) : limit / (value || 1e-9);
  return Math.min(1, Math.max(0, share)).toFixed(3);
};

/** Lines of what another choice would change. */
function trades(file, choice) {
  const { rows } = file,
    row = rows[choice.chosen],
    key = state.objective;
  const best = rows[pick(rows, [], key).chosen],
    lines = [];
  if (best[key] > row[key]) {
    const lost = `${figure(key, best[key] - row[key])} ${nameOf(key)}`;
    lines.push([
      `It gives up ${lost} (it keeps ${percent(row[key] / best[key])}) beside the best measured, `,
      strong(best),
      `: ${changes(best, row)}.`,
    ]);
  } else {
    lines.push([`It gives up nothing: no measured configuration has a better ${nameOf(key)}.`]);
  }
  const full = fullOf(file, key);
  if (full !== undefined && full !== best[key]) {
    const share = `${percent(row[key] / full)} of the full model's ${nameOf(key)}`;
    const where = file.full_elsewhere ? ", measured on another device" : "";
    lines.push([`It has ${share} (fp32, all layers, all dimensions${where}: ${figure(key, full)}).`]);
  }
  if (choice.nextBetter !== null) {
    const better = rows[choice.nextBetter];
    const needs = choice.over[choice.nextBetter].map(needed).join(" and ");
    const gain = figure(key, better[key] - row[key]);
    lines.push(["The nearest better one, ", strong(better), `, gains ${gain}; it needs ${needs}.`]);
  }
  lines.push(...buys(file, choice, choice.nextBetter), ...savings(file, choice));
  lines.push(...chance(rows, choice, row, key));
  return lines;
}

/** Say how well the quality is known, and how many others that fit lie as near. */
function chance(rows, { fitting, chosen }, row, key) {
  const [low] = row.intervals[key] ?? [];
  if (low === undefined) return [];
  const near = fitting.filter((place) => place !== chosen && rows[place][key] >= low).length;
  const others = near
    ? `; ${several(near, "other configuration")} that ${near === 1 ? "fits lies" : "fit lie"} within`
    : "";
  const sure = near ? " All answered the same, which makes their differences surer than that." : "";
  return [[`Over the texts of this test its ${nameOf(key)} is known to ${interval(row, key)}${others}.${sure}`]];
}

const strong = (row) => make("strong", {}, row.name);

/** Say what changes in time, memory and disk from one row to another. */
function changes(from, to) {
  return WEIGHTS.map((key) => {
    const change = to[key] - from[key];
    if (Math.abs(change) < 0.005 * from[key]) return `the same ${nameOf(key)}`;
    const [word, sign] = change < 0 ? ["less", "−"] : ["more", "+"];
    const share = `${sign}${percent(Math.abs(change) / from[key])}`;
    return `${withUnit(key, Math.abs(change))} ${word} ${nameOf(key)} (${share})`;
  }).join(", ");
}

function nothing(file, choice) {
  if (choice.limits.some(({ limit }) => limit === Infinity))
    return [
      make("h3", { class: "name" }, make("span", { class: "first" }, "No full model measured")),
      make(
        "p",
        { class: "why" },
        "A share of the full model (fp32, all layers, all dimensions) is to be kept, and the results do not hold it: ",
        "nothing can be said to fit.",
      ),
    ];
  const missed = choice.over[choice.nearest].map((one) => make("li", {}, missedInWords(one)));
  const near = file.rows[choice.nearest];
  return [
    make("h3", { class: "name" }, make("span", { class: "first" }, "Nothing fits")),
    make("p", { class: "why" }, "The nearest is ", strong(near), ", which misses:"),
    make("ul", { class: "trades" }, ...missed),
    ...uncertain(file, choice).map((line) => make("p", { class: "unsure" }, ...line)),
    make("h4", {}, "What one limit alone would have to give"),
    make("ul", { class: "trades relaxed" }, ...relaxations(file, choice).map((line) => make("li", {}, ...line))),
  ];
}

/** The front of what fits, as a table with what each row changes beside the pick. */
function along({ rows, label }, { front, chosen }) {
  const keys = [state.objective, ...WEIGHTS],
    row = rows[chosen];
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, "configuration"),
    ...keys.map((key) => make("th", { scope: "col" }, nameOf(key), make("small", {}, unitOf(key)))),
  );
  const body = front.map((place) => {
    const cells = keys.map((key) =>
      make(
        "td",
        {},
        figure(key, rows[place][key]),
        place === chosen ? null : make("small", {}, signed(key, rows[place][key] - row[key])),
      ),
    );
    return make(
      "tr",
      place === chosen ? { class: "chosen" } : {},
      make("th", { scope: "row" }, rows[place].name, place === chosen ? make("em", {}, "the pick") : null),
      ...cells,
    );
  });
  const count = several(front.length, "configuration");
  const said = `The Pareto front of what fits: ${count} that nothing beats in everything`;
  return make(
    "details",
    { open: front.length > 1 ? "" : null },
    make("summary", {}, said),
    make(
      "div",
      { class: "scroll short", tabindex: "0", role: "region", "aria-label": `Pareto front, ${label}` },
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)),
    ),
  );
}

const signed = (key, change) => (change === 0 ? "±0" : `${change < 0 ? "−" : "+"}${figure(key, Math.abs(change))}`);
