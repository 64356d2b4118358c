// Pages of `mrl-edge report` in headless Chromium: `node report.mjs CHROMIUM < task.json`, which holds {page, hostile,
// several, opened, apart, single, grown: paths, budgets: [{typed: {id: text}, slid: {"kind-key": share of the way}, objective,
// confidence}]}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath] = process.argv.slice(2);
const task = JSON.parse(readFileSync(0, "utf8"));
const axe = readFileSync(new URL("./node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
const answer = { complaints: [], requests: [], violations: [], openedMs: [], budgets: [], texts: [] };

/** Open a page, and write down what it asks of the network and what the console says. */
async function open(path, options = {}, hash = "") {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  const url = pathToFileURL(path).href;
  page.on("request", (request) => request.url().split("#")[0] === url || answer.requests.push(request.url()));
  page.on("console", (message) => answer.complaints.push(message.text()));
  page.on("pageerror", (error) => answer.complaints.push(error.message));
  page.on("dialog", (dialog) => {
    answer.complaints.push(`a dialog: ${dialog.message()}`);
    return dialog.dismiss();
  });
  await page.goto(url + hash);
  return page;
}

/** Let the page draw what changed. */
const drawn = (page) =>
  page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

const read = (page) =>
  page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent);
    return {
      names: texts("#picks .name"),
      nearest: texts("#picks .why strong"),
      front: [...document.querySelectorAll("#picks tbody th")].map((head) => head.firstChild.textContent),
      commands: texts("code[data-pick]"),
      fitting: texts("tbody[data-file] tr:not(.out) th"),
      trades: texts("#picks .trades:not(.relaxed) li"),
      traded: texts("#picks .trades:not(.relaxed) strong"),
      relaxed: texts("#picks .relaxed li"),
      unsure: texts("#picks .unsure"),
      wrong: texts(".wrong").filter(Boolean),
      budget: document.getElementById("budget-said").textContent,
      said: document.getElementById("said").textContent,
      confidence: document.getElementById("confidence").value,
      hash: location.hash,
    };
  });

async function apply(page, { typed = {}, slid = {}, objective = "ndcg_at_10", confidence = "" }) {
  await page.click("#clear");
  await page.selectOption("#objective", objective);
  await page.selectOption("#confidence", confidence);
  for (const [id, text] of Object.entries(typed)) await page.fill(`#${id}`, text);
  for (const [control, share] of Object.entries(slid)) {
    const slider = page.locator(`#${control}`).locator("xpath=../../input[@type='range']");
    await slider.evaluate((input, share) => {
      input.value = Number(input.min) + share * (Number(input.max) - Number(input.min));
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }, share);
  }
  await drawn(page);
}

/** What a figure's bars and ticks are, in pixels along x. */
const figureOf = (page, selector) =>
  page.evaluate((selector) => {
    const svg = document.querySelector(`${selector} svg`);
    const base = svg.querySelectorAll("line.axis");
    const frame = base[base.length - 1];
    return {
      frame: [Number(frame.getAttribute("x1")), Number(frame.getAttribute("x2"))],
      ticks: [...svg.querySelectorAll("text[text-anchor=middle]")].map((one) => [
        one.textContent,
        Number(one.getAttribute("x")),
      ]),
      whiskers: [...svg.querySelectorAll(".whisker")].map((one) => {
        const [, from, to] = one.getAttribute("d").match(/^M(\S+) [^H]+H([^M]+)M/);
        return [Number(from), Number(to)];
      }),
    };
  }, selector);

/** What paper shows of a page. */
async function print(page) {
  await page.emulateMedia({ media: "print" });
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  return page.evaluate(() => ({
    text: document.body.innerText,
    hidden: ["#budget", ".switch", ".by", ".form"].filter((one) => !document.querySelector(one).checkVisibility()),
    folded: document.querySelectorAll("details:not([open])").length,
    widths: [...document.querySelectorAll(".row .box svg")].map((one) => one.viewBox.baseVal.width),
  }));
}

async function complainOf(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  answer.violations.push(...violations.map(({ id, nodes }) => `${where}: ${id}: ${nodes[0].html}`));
}

try {
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    const page = await open(task.page);
    await page.waitForSelector("[data-cost] svg .ring");
    answer.openedMs.push(performance.now() - start);
    await page.close();
  }
  const page = await open(task.page);
  for (const budget of task.budgets) {
    await apply(page, budget);
    answer.budgets.push(await read(page));
    answer.texts.push(await page.locator("#picks").innerText());
  }
  await apply(page, {});
  answer.figure = await figureOf(page, "[data-cost=p50_ms]");
  await apply(page, { typed: { "max-p50_ms": "3" } });
  await page.fill("#max-p50_ms", "-5");
  await drawn(page);
  answer.invalid = await read(page);
  await complainOf(page, "a wrong number");

  const opened = await open(task.opened);
  answer.opened = await read(opened);
  await opened.click("#clear");
  await drawn(opened);
  answer.cleared = await read(opened);
  answer.reloaded = await read(await open(task.opened, {}, answer.cleared.hash));
  answer.unknownShare = await read(await open(task.apart, {}, "#keep.ndcg_at_10=0.9"));
  await open(task.single); // sliders of one value
  const both = await open(task.several, {}, "#keep.ndcg_at_10=0.9");
  answer.keptOnBoth = await read(both);
  answer.sections = await both.evaluate(() => {
    for (const one of document.querySelectorAll("details")) one.open = true;
    return Object.fromEntries([...document.querySelectorAll("section")].map((one) => [one.id, one.innerText]));
  });
  answer.printed = await print(await open(task.several, {}, answer.budgets[2].hash));
  const grown = await open(task.grown);
  answer.grown = { ...(await read(grown)), picks: await grown.locator("#picks").innerText() };
  const linked = await open(task.page, {}, answer.budgets[2].hash);
  answer.linked = await read(linked);

  await page.click("#clear");
  await page.locator("#max-disk_mb").locator("xpath=../../input[@type='range']").focus();
  for (let i = 0; i < 30; i++) await page.keyboard.press("ArrowLeft");
  await drawn(page);
  answer.byKeyboard = await read(page);
  await page.locator("[data-cost=p50_ms] svg").focus();
  await page.keyboard.press("ArrowRight");
  answer.tip = await page.locator("[data-cost=p50_ms] .tip").innerText();

  for (const colorScheme of ["light", "dark"]) {
    const one = await open(task.several, { colorScheme }, answer.budgets[2].hash);
    await complainOf(one, colorScheme);
  }
  const narrow = await open(task.several, { viewport: { width: 400, height: 800 } });
  answer.narrowWidth = await narrow.evaluate(() => document.documentElement.scrollWidth);
  await complainOf(narrow, "narrow");
  answer.pdf = (await narrow.pdf()).length;
  answer.hostile = await read(await open(task.hostile));
  process.stdout.write(JSON.stringify(answer));
} finally {
  await browser.close();
}
