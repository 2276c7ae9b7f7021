"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // As the program writes numbers: so many significant digits, never in exponents.
  const significant = (value, digits) => {
    if (value === 0 || !Number.isFinite(value)) return String(value);
    const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
    return value.toFixed(Math.min(12, Math.max(0, digits - 1 - exponent)));
  };

  // Tables sort by what a cell holds in full, not by what it shows.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const raw = cell.dataset.value;
    if (raw === undefined) return cell.textContent.trim();
    return raw === "" ? null : Number(raw);
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en"));
  };
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = element("button", head.textContent);
      button.type = "button";
      head.textContent = "";
      head.append(button);
      button.addEventListener("click", () => {
        const next = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", next);
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
        rows.sort((a, b) => compare(a[0], b[0], next === "ascending" ? 1 : -1));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  // The policies' filter hides rows that do not hold every word.
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (text, wanted) => wanted.every((word) => text.includes(word));
  for (const input of all("input[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    const status = document.getElementById(input.dataset.status);
    input.addEventListener("input", () => {
      const wanted = words(input.value);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        row.hidden = !holds(row.textContent.toLowerCase(), wanted);
        shown += !row.hidden;
      }
      status.textContent = `${shown} of ${table.tBodies[0].rows.length} shown`;
    });
  }

  // The threshold: every stop was computed by the program; here it is only shown.
  const slider = document.getElementById("stop");
  if (slider) {
    const choice = document.getElementById("score");
    const show = () => {
      const score = data.threshold[choice.value];
      const stop = score.stops[Math.min(Number(slider.value), score.stops.length - 1)];
      for (const output of all("[data-figure]")) {
        const figure = stop.shown[output.dataset.figure];
        output.textContent = figure[0];
        output.dataset.value = figure[1] === null ? "" : String(figure[1]);
      }
      slider.setAttribute("aria-valuetext", `threshold ${stop.shown.threshold[0]}, ${stop.shown.sent[0]} to the large model`);
      all(".curve").forEach((curve) => { curve.hidden = curve.dataset.score !== choice.value; });
      const markers = all(`.curve[data-score="${CSS.escape(choice.value)}"] .marker`);
      const [x, y, narrowX, narrowY] = stop.at;
      [[x, y], [narrowX, narrowY]].forEach(([left, top], place) => {
        const marker = markers[place];
        if (marker) { marker.setAttribute("cx", left); marker.setAttribute("cy", top); }
      });
    };
    choice.addEventListener("change", () => {
      const score = data.threshold[choice.value];
      slider.max = String(score.stops.length - 1);
      slider.value = String(score.first);
      show();
    });
    slider.addEventListener("input", show);
  }

  // The break-even is the one thing that is computed here: from the reader's own assumptions.
  const even = document.getElementById("even");
  if (even) {
    const volumes = data.break_even.volumes;
    const number = (id) => {
      const text = document.getElementById(id).value;
      return text === "" ? NaN : Number(text);
    };
    const money = (value) => (Number.isNaN(value) ? "n/a" : (value < 0 ? "−" : "") + significant(Math.abs(value), 3));
    const compute = () => {
      const [input, output, hourly, hours] = ["price-in", "price-out", "hourly", "hours"].map(number);
      const cachedText = document.getElementById("price-cached").value;
      const cached = cachedText === "" ? input : Number(cachedText);
      const api = (tokens) =>
        tokens ? ((tokens.input - tokens.cached) * input + tokens.cached * cached + tokens.output * output) / 1000 : NaN;
      const reference = api(data.break_even.reference);
      const day = hourly * hours;
      data.break_even.policies.forEach((policy, place) => {
        const row = even.tBodies[0].rows[place];
        const mine = api(policy.tokens);
        const saved = (reference - mine) / 1000;
        const from = saved > 0 ? String(Math.ceil(day / saved)) : Number.isNaN(saved) ? "n/a" : "never";
        const cells = [money(mine), from, ...volumes.map((volume) => money(volume * saved - day))];
        cells.forEach((text, column) => {
          const cell = row.cells[column + 1];
          cell.textContent = text;
          cell.className = column > 1 && text !== "n/a" ? (text.startsWith("−") ? "no" : "yes") : "";
        });
      });
      document.getElementById("even-reference").textContent = money(reference);
    };
    all("#assumptions input").forEach((input) => input.addEventListener("input", compute));
  }

  // Answers side by side. Texts of models and users only ever become text.
  const gallery = document.getElementById("gallery");
  if (gallery) {
    const sample = document.getElementById("gallery-sample");
    const sides = [document.getElementById("gallery-left"), document.getElementById("gallery-right")];
    const block = (title, text) => {
      const parts = [element("h4", title)];
      const body = element("pre", text);
      body.tabIndex = 0;
      body.dir = "auto";
      body.setAttribute("role", "group");
      body.setAttribute("aria-label", title);
      parts.push(body);
      return parts;
    };
    const draw = (answer, place) => {
      const box = element("div", null, "answer");
      const name = data.policies[Number(sides[place].value)];
      box.append(element("h3", name));
      if (!answer) {
        box.append(element("p", "No trial of this policy was recorded for this sample.", "note"));
        return box;
      }
      const right = answer.right === true ? "right" : answer.right === false ? "wrong" : "not scored";
      box.append(element("p", `${right} · ${answer.outcome.replace("_", " ")} · label ${answer.label === null ? "none" : answer.label}`));
      if (answer.failure) box.append(...block("Why it failed", answer.failure));
      answer.attempts.forEach((attempt, number) => {
        const confidence = attempt.confidence === null ? "" : `, confidence ${attempt.confidence.toFixed(2)}`;
        const head = `${number + 1}. ${attempt.model} (${attempt.tier}), ${attempt.because}: ${significant(attempt.seconds, 3)} s${confidence}`;
        box.append(...block(`Raw output of call ${head}`, attempt.raw === null ? "none" : attempt.raw));
        box.append(...block(`Read from call ${number + 1}`, attempt.parsed));
        box.append(element("p", `Contract: ${attempt.contract}`, "note"));
      });
      const more = element("details");
      more.append(element("summary", "Prompt and context"), ...block("Prompt of the first call", answer.prompt));
      if (answer.passages.length > 0) more.append(...block("Passages from the memory", answer.passages.join("\n\n")));
      box.append(more);
      return box;
    };
    const show = () => {
      const chosen = data.gallery[Number(sample.value)];
      one("#gallery-gold").textContent = `Gold label: ${chosen.gold === null ? "none" : chosen.gold}`;
      gallery.replaceChildren(
        ...sides.map((side, place) => draw(chosen.answers.find((answer) => answer.policy === Number(side.value)), place)),
      );
    };
    [sample, ...sides].forEach((control) => control.addEventListener("change", show));
    all(".gallery-step").forEach((button) =>
      button.addEventListener("click", () => {
        const next = Number(sample.value) + Number(button.dataset.step);
        if (next >= 0 && next < data.gallery.length) { sample.value = String(next); show(); }
      }),
    );
    show();
  }

  // The list of trials.
  const list = document.getElementById("trial-rows");
  if (list) {
    const search = document.getElementById("trial-search");
    const policy = document.getElementById("trial-policy");
    const result = document.getElementById("trial-result");
    const status = document.getElementById("trial-status");
    const heads = all("#trial-table thead th");
    let order = null;
    const resultOf = (row) => (row[2] === "failed" ? "failed" : row[5] === true ? "right" : row[5] === false ? "wrong" : "not scored");
    const shown = (row) => [
      row[0], data.policies[row[1]], resultOf(row), row[3] ?? "–", row[4] ?? "–",
      row[6] ? row[6].replaceAll("_", " ") : "not called", String(row[7]),
      row[8] === null ? "–" : row[8].toFixed(2), significant(row[9], 3), row[10] === null ? "–" : significant(row[10], 3),
    ];
    const raw = (row, column) => [row[0], data.policies[row[1]], resultOf(row), row[3], row[4], row[6], row[7], row[8], row[9], row[10]][column];
    const texts = new Map(data.trials.map((row) => [row, shown(row).join(" ").toLowerCase()]));
    const draw = () => {
      const wanted = words(search.value);
      let rows = data.trials.filter(
        (row) =>
          (policy.value === "" || row[1] === Number(policy.value)) &&
          (result.value === "" || resultOf(row) === result.value) &&
          holds(texts.get(row), wanted),
      );
      if (order) rows = rows.toSorted((a, b) => compare(raw(a, order.column), raw(b, order.column), order.sign));
      list.replaceChildren(
        ...rows.map((row) => {
          const line = element("tr");
          shown(row).forEach((text, column) => {
            const cell = element(column === 0 ? "th" : "td", text, column > 0 && column < 6 ? "left" : "");
            if (column === 0) cell.scope = "row";
            line.append(cell);
          });
          return line;
        }),
      );
      status.textContent = `${rows.length} of ${data.trials.length} listed trials shown`;
    };
    heads.forEach((head, column) => {
      const button = element("button", head.textContent);
      button.type = "button";
      head.textContent = "";
      head.append(button);
      button.addEventListener("click", () => {
        const sign = order && order.column === column && order.sign === -1 ? 1 : -1;
        order = { column, sign };
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        draw();
      });
    });
    [search, policy, result].forEach((control) => control.addEventListener("input", draw));
    draw();
  }

  // On paper nothing can be opened.
  window.addEventListener("beforeprint", () => all("details").forEach((details) => { details.open = true; }));
})();
