// web.mjs in headless Chromium: `node chromium.mjs CHROMIUM URL_OF_THIS_FOLDER URL_OF_A_PRECISION < task.json`.

import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [executablePath, here, folder] = process.argv.slice(2);
const task = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage();
  await page.goto(here);
  const answer = await page.evaluate(
    async ([folder, task]) => (await import("./web.mjs")).answer(folder, task),
    [folder, task],
  );
  answer.versions.chromium = browser.version();
  process.stdout.write(JSON.stringify(answer));
} finally {
  await browser.close();
}
