// What the reader does changes the state, and the page is drawn from the state.

let waiting = false;

/** Draw once a frame, however many events there are. */
function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    update();
  });
}

function update() {
  const at = state.confidence === null ? null : data.confidences.indexOf(state.confidence);
  const choices = data.devices.map((device) => pick(device.rows, limitsOf(device), state.objective, at));
  showAnswers(choices);
  showScatters(choices);
  showCurves(choices);
  showDevices(choices);
  markRows(choices);
  showCommands(choices);
  writeAddress();
}

function markRows(choices) {
  for (const body of document.querySelectorAll("tbody[data-file]")) {
    const { fitting, chosen } = choices[body.dataset.file],
      fits = new Set(fitting);
    for (const row of body.rows) {
      const place = Number(row.dataset.place);
      row.className = place === chosen ? "chosen" : fits.has(place) ? "" : "out";
      row.cells[1].textContent = place === chosen ? "pick" : fits.has(place) ? "yes" : "no";
    }
  }
  for (const body of document.querySelectorAll("tbody[data-classes]")) {
    const { chosen } = choices[body.dataset.classes],
      key = data.devices[body.dataset.classes].rows[chosen]?.classes;
    for (const row of body.rows) row.className = row.dataset.key === key ? "chosen" : "";
  }
}

/** The commands that make the choice, and that ship it where there is one. */
function showCommands(choices) {
  for (const code of document.querySelectorAll("code[data-pick]")) {
    const device = data.devices[code.dataset.pick],
      choice = choices[code.dataset.pick];
    const elsewhere = kept().length > 0 && device.full_elsewhere;
    const lines = [`${elsewhere ? device.pick_all : device.pick} ${options()}`];
    if (choice.limits.some(({ limit }) => limit === Infinity)) lines[0] = `# no full model was measured: ${lines[0]}`;
    else if (elsewhere) lines.push("# another device has the full model: this says a choice for each");
    else if (choice.chosen !== null) {
      lines[0] += " --json > choice.json";
      lines.push(`${device.ship} --pick choice.json --out app`);
    }
    showCommand(code, lines.join("\n"));
  }
}

/** Put a command's words in spans, so that lines end between words and not at the hyphens of an option. */
function showCommand(code, text) {
  const parts = text.split(/(\s+)/).filter(Boolean);
  code.replaceChildren(...parts.map((part) => (/\S/.test(part) ? make("span", { class: "word" }, part) : part)));
}

/** Sort a table by a column, first down and then up. */
function openTables() {
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"),
        body = head.closest("table").tBodies[0],
        column = head.cellIndex;
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => Number(row.cells[column].dataset.value);
      body.append(
        ...[...body.rows].sort(
          (a, b) => (down ? value(b) - value(a) : value(a) - value(b)) || a.dataset.place - b.dataset.place,
        ),
      );
    });
  }
}

function openCopying() {
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
}

function openSwitches() {
  for (const radio of document.querySelectorAll("input[name=device]")) {
    radio.addEventListener("change", () => {
      state.device = Number(radio.value);
      changed();
    });
  }
  for (const select of document.querySelectorAll("[data-by]")) {
    select.addEventListener("change", () => {
      state.curves[select.dataset.by] = select.value;
      changed();
    });
  }
}

function drawFor(paper) {
  state.paper = paper;
  update();
  showBaselines();
}

/** Paper has no sliders and nothing to unfold, and its own widths. */
function openPrinting() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = true;
    drawFor(true);
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
    drawFor(false);
  });
}

document.documentElement.classList.add("live");
openBudget(changed);
openTables();
openCopying();
for (const code of document.querySelectorAll(".command code")) showCommand(code, code.textContent);
openSwitches();
openPrinting();
readAddress();
showBudget();
update();
showBaselines();
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  changed();
  showBaselines();
});
addEventListener("hashchange", () => {
  readAddress();
  showBudget();
  changed();
});
