// Figures as inline SVG: they print, they take the page's colours, and they fetch nothing.

const MARKS = [
  "M0-5A5 5 0 1 1 0 5A5 5 0 1 1 0-5Z", // circle
  "M-4.5-4.5H4.5V4.5H-4.5Z", // square
  "M0-6L5.6 4.2H-5.6Z", // triangle
  "M0-6.2L6.2 0L0 6.2L-6.2 0Z", // diamond
  "M-1.8-5.6H1.8V-1.8H5.6V1.8H1.8V5.6H-1.8V1.8H-5.6V-1.8H-1.8Z", // cross
  "M0 6L5.6-4.2H-5.6Z", // triangle on its head
];
const REACH = 28; // pixels around a point in which the pointer finds it

/** Make an element; a child is an element or a text, which stays a text whatever it says. */
function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Return 1, 2 or 5 times a power of ten, at least `rough`. */
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.9999);
}

function decimalsOf(step) {
  return Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
}

/** An axis over values: from 0 where asked, logarithmic where they span more than a factor of 12. */
function axisOver(values, { zero = false, count = 5, log = true } = {}) {
  const low = Math.min(...values),
    high = Math.max(...values);
  if (log && low > 0 && high / low > 12) {
    const ticks = [];
    for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
      for (const factor of high / low > 200 ? [1] : [1, 2, 5]) ticks.push(Number((factor * power).toPrecision(1)));
    }
    return { log, min: low / 1.15, max: high * 1.15, ticks: ticks.filter((t) => t >= low / 1.15 && t <= high * 1.15) };
  }
  const from = zero ? 0 : low,
    step = niceStep((high - from || high || 1) / count);
  const min = Math.floor(from / step) * step,
    max = Math.max(Math.ceil(high / step), Math.floor(from / step) + 1) * step;
  const ticks = Array.from({ length: Math.round((max - min) / step) + 1 }, (_, i) =>
    Number((min + i * step).toFixed(decimalsOf(step))),
  );
  return { log: false, min, max, ticks };
}

function scale({ log, min, max }, [from, to]) {
  const bent = log ? Math.log : (value) => value;
  return (value) => from + ((bent(value) - bent(min)) / (bent(max) - bent(min))) * (to - from);
}

/** The size of a figure: on paper what its place in a row of two or three leaves it, so that its words stay as large. */
function sizeOf(box, tall) {
  if (!state.paper) return [Math.max(240, Math.round(box.clientWidth) || 480), tall];
  return box.closest(".row").children.length === 3 ? [230, 0.75 * tall] : [360, 0.75 * tall];
}

/** Draw the frame of a figure into `box` and return what marks are placed with. */
function frame(box, { label, x, y, xTitle, yTitle, height: tall = 290 }) {
  const [width, height] = sizeOf(box, tall);
  const inner = { left: 50, right: width - 14, top: 26, bottom: height - 40 };
  const X = scale(x, [inner.left, inner.right]),
    Y = scale(y, [inner.bottom, inner.top]);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, tabindex: "0" });
  for (const tick of y.ticks) {
    const at = Y(tick);
    svg.append(draw("line", { class: "grid", x1: inner.left, x2: inner.right, y1: at, y2: at }));
    svg.append(draw("text", { x: inner.left - 8, y: at + 4, "text-anchor": "end" }, String(tick)));
  }
  let next = Infinity; // from the right, so that the last tick has its number
  for (const tick of [...x.ticks].reverse()) {
    const at = X(tick);
    svg.append(draw("line", { class: "axis", x1: at, x2: at, y1: inner.bottom, y2: inner.bottom + 4 }));
    if (next - at < 8 + 7 * String(tick).length) continue;
    svg.append(draw("text", { x: at, y: inner.bottom + 18, "text-anchor": "middle" }, String(tick)));
    next = at;
  }
  svg.append(draw("line", { class: "axis", x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }));
  svg.append(draw("text", { x: 2, y: 12 }, yTitle));
  svg.append(draw("text", { x: inner.right, y: height - 4, "text-anchor": "end" }, xTitle));
  box.replaceChildren(svg);
  return { svg, X, Y, inner, width };
}

/**
 * Draw points {x, y, mark, tone, low, high, quiet, chosen, lines}: `lines` are what its tip says, `low` and `high` the
 * interval along x. `step` are the points of a front; a limit {axis, value, kind} shades what a budget leaves out.
 */
function scatter(box, { points, step, limits, ...options }) {
  const { svg, X, Y, inner } = frame(box, options);
  for (const { axis, value, kind } of limits) svg.append(...shade(axis === "x" ? X : Y, axis, value, kind, inner));
  if (step.length) {
    let path = `M${X(step[0].x)} ${Y(step[0].y)}`;
    for (const { x, y } of step.slice(1)) path += `H${X(x)}V${Y(y)}`;
    svg.append(draw("path", { class: "front", d: `${path}H${inner.right}` }));
  }
  const rank = (point) => (point.chosen ? 2 : point.quiet ? 0 : 1);
  const placed = points.map((point) => ({ point, at: [X(point.x), Y(point.y)], lines: point.lines }));
  const size = points.length > 80 ? 0.75 : 1;
  for (const { point, at } of [...placed].sort((a, b) => rank(a.point) - rank(b.point))) {
    svg.append(...marked(point, at, whiskerAlong("x", point, X, at[1], inner), size));
  }
  tips(box, svg, placed);
}

function shade(place, axis, value, kind, inner) {
  const [low, high] = axis === "x" ? [inner.left, inner.right] : [inner.top, inner.bottom];
  const wanted = place(value),
    at = Math.min(high, Math.max(low, wanted));
  const beyond = (kind === "max") === (axis === "x") ? [at, high] : axis === "x" ? [low, at] : [at, high];
  const [from, size] = [beyond[0], beyond[1] - beyond[0]];
  const across = { x: inner.left, width: inner.right - inner.left, y: inner.top, height: inner.bottom - inner.top };
  const along = axis === "x" ? { x: from, width: size } : { y: from, height: size };
  const line =
    axis === "x"
      ? { x1: at, x2: at, y1: inner.top, y2: inner.bottom }
      : { y1: at, y2: at, x1: inner.left, x2: inner.right };
  const shaded = draw("rect", { class: "beyond", ...across, ...along });
  return at === wanted ? [shaded, draw("line", { class: "limit", ...line })] : [shaded]; // the line, where it is in sight
}

/** Draw a point at pixels, on a whisker from `from` to `to` where it has an interval. */
function marked({ mark, tone, quiet, chosen }, [x, y], whisker, size = 1) {
  const drawn = whisker && !quiet ? [draw("path", { class: `whisker tone-${tone}`, d: whisker })] : [];
  if (chosen) drawn.push(draw("circle", { class: "ring", cx: x, cy: y, r: 11 }));
  const transform = `translate(${x} ${y}) scale(${size})`;
  const kind = `mark tone-${tone}${quiet ? " quiet" : ""}`;
  return [...drawn, draw("path", { class: kind, d: MARKS[mark % MARKS.length], transform })];
}

/** The path of an interval with its ends marked, as far as it lies within the frame; nothing of no interval. */
function whiskerAlong(axis, { low, high }, place, other, inner) {
  if (low === undefined) return null;
  const [least, most] = axis === "x" ? [inner.left, inner.right] : [inner.top, inner.bottom];
  const [from, to] = [low, high].map((value) => Math.min(most, Math.max(least, place(value))));
  return axis === "x"
    ? `M${from} ${other}H${to}M${from} ${other - 3}v6M${to} ${other - 3}v6`
    : `M${other} ${from}V${to}M${other - 3} ${from}h6M${other - 3} ${to}h6`;
}

/** Draw series {tone, mark, points} as lines with whiskers along y; side by side, where lines lie on each other. */
function curves(box, { series, ...options }) {
  const { svg, X, Y, inner } = frame(box, options);
  const placed = [];
  series.forEach(({ tone, mark, points }, number) => {
    const aside = 5 * (number - (series.length - 1) / 2);
    const at = points.map(({ x, y }) => [X(x) + aside, Y(y)]);
    svg.append(draw("path", { class: `curve tone-${tone}`, d: `M${at.map((one) => one.join(" ")).join("L")}` }));
    points.forEach((point, i) => {
      svg.append(...marked({ tone, mark }, at[i], whiskerAlong("y", point, Y, at[i][0], inner), 0.75));
      placed.push({ at: at[i], lines: point.lines });
    });
  });
  tips(box, svg, placed);
}

/** Say what the point under the pointer is, or, with the arrow keys, one after the other from left to right. */
function tips(box, svg, points) {
  const order = [...points].sort((a, b) => a.at[0] - b.at[0] || a.at[1] - b.at[1]);
  const tip = make("div", { class: "tip", role: "status", hidden: "" });
  const halo = draw("circle", { class: "halo", r: 9, visibility: "hidden" });
  let now = -1;
  svg.append(halo);
  box.append(tip);
  const hide = () => {
    now = -1;
    tip.hidden = true;
    halo.setAttribute("visibility", "hidden");
  };
  const show = (place) => {
    if (place === now) return;
    now = place;
    const { at, lines } = order[place];
    tip.replaceChildren(...lines.map((line, i) => make(i ? "span" : "strong", {}, line)));
    tip.hidden = false;
    halo.setAttribute("cx", at[0]);
    halo.setAttribute("cy", at[1]);
    halo.setAttribute("visibility", "visible");
    const shrink = box.clientWidth / svg.viewBox.baseVal.width;
    const left = Math.min(Math.max(0, at[0] * shrink - tip.offsetWidth / 2), box.clientWidth - tip.offsetWidth);
    const above = at[1] * shrink - tip.offsetHeight - 14;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 0 ? at[1] * shrink + 14 : above}px`;
  };
  svg.addEventListener("pointermove", (event) => {
    const bounds = svg.getBoundingClientRect(),
      shrink = bounds.width / svg.viewBox.baseVal.width;
    const [x, y] = [(event.clientX - bounds.left) / shrink, (event.clientY - bounds.top) / shrink];
    let found = -1,
      nearest = REACH;
    order.forEach(({ at }, place) => {
      const far = Math.hypot(at[0] - x, at[1] - y);
      if (far < nearest) [found, nearest] = [place, far];
    });
    if (found < 0) hide();
    else show(found);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (by === undefined || !order.length) return;
    event.preventDefault();
    show(Math.min(order.length - 1, Math.max(0, now + by)));
  });
}
