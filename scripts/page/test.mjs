// What a person does with the page, done by a browser with no network: FOLDER holds plain/, hostile/ and replay/ of scripts/test-page.
// With a second argument, screenshots of FOLDER's plain page are written there.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = resolve(process.argv[2]);
const address = (run) => pathToFileURL(`${folder}/${run}/report.html`).href;
const json = async (path) => JSON.parse(await readFile(`${folder}/${path}`, "utf8"));

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const open = async (run, { width = 1280, height = 900, dark = false } = {}) => {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", offline: true });
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) problems.push(message.text()); });
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("dialog", (dialog) => { problems.push("a dialog"); dialog.dismiss(); });
  page.on("request", (request) => { if (!request.url().startsWith("file:")) problems.push(`a request: ${request.url()}`); });
  await page.goto(address(run), { waitUntil: "load" });
  return { page, problems, close: () => context.close() };
};
const steps = [];
const step = async (name, work) => {
  try { await work(); steps.push(`ok   ${name}`); } catch (error) { steps.push(`FAIL ${name}\n     ${error.message}`); process.exitCode = 1; }
};
const texts = (page, selector) => page.locator(selector).allTextContents();

await step("the page opens from a file in under a second, with no request and no message of the console", async () => {
  const { page, problems, close } = await open("plain");
  const seconds = await page.evaluate(() => performance.getEntriesByType("navigation")[0].duration / 1000);
  assert.ok(seconds < 1, `${seconds} s`);
  assert.deepEqual(problems, []);
  assert.match(await page.locator("h1").textContent(), /Can small-1b take over from large-70b/);
  await close();
});

await step("the slider moves the figures to those that replay computes", async () => {
  const replay = await json("replay/replay.json");
  const { page, problems, close } = await open("plain");
  const scores = await page.locator("#score option").count();
  assert.ok(scores >= 3, `${scores} scores`);
  for (let score = 0; score < scores; score += 1) {
    await page.locator("#score").selectOption(String(score));
    const name = (await page.locator("#score option").nth(score).textContent()).split(",")[0];
    const points = replay.policies[name].points;
    assert.equal(Number(await page.locator("#stop").getAttribute("max")), points.length - 1);
    const places = new Set();
    for (const [stop, point] of points.entries()) {
      await page.locator("#stop").fill(String(stop));
      const figure = async (key) => {
        const raw = await page.locator(`[data-figure="${key}"]`).getAttribute("data-value");
        return raw === "" ? null : Number(raw);
      };
      assert.equal(await figure("threshold"), point.threshold);
      assert.equal(await figure("sent"), point.strong_share);
      assert.equal(await figure("quality"), point.quality);
      assert.equal(await figure("difference"), point.difference);
      assert.equal(await figure("cost"), point.cost);
      assert.equal(await figure("latency"), point.latency_s.p50);
      places.add(await page.locator(`.curve[data-score="${score}"] svg.wide .marker`).getAttribute("cx"));
    }
    assert.ok(places.size > points.length / 2, "the marker moves");
  }
  assert.deepEqual(problems, []);
  await close();
});

await step("the numbers of the list of policies are those of summary.json to the last digit", async () => {
  const summary = await json("plain/summary.json");
  const { page, close } = await open("plain");
  for (const policy of summary.policies) {
    const row = page.locator("#policy-table tbody tr").filter({ has: page.locator("bdi", { hasText: new RegExp(`^${policy.router}$`) }) });
    const values = await row.locator("td").evaluateAll((cells) => cells.map((cell) => cell.dataset.value));
    const shown = values.filter((value) => value).map(Number);
    for (const wanted of [policy.accuracy.value, policy.latency_s.p50, policy.latency_s.p95, policy.llm_call_rate, policy.schema_valid_first, policy.n]) {
      assert.ok(shown.includes(wanted), `${wanted} of ${policy.cell} is not in ${shown}`);
    }
  }
  const embedded = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).summary);
  assert.deepEqual(embedded, summary);
  await close();
});

await step("tables sort both ways, by mouse and by keyboard", async () => {
  const { page, close } = await open("plain");
  const column = async () =>
    page.locator("#policy-table tbody tr").evaluateAll((rows) => rows.map((row) => Number(row.cells[5].dataset.value)));
  const button = page.locator("#policy-table thead th").nth(5).locator("button");
  await button.click();
  const down = await column();
  assert.deepEqual(down, down.toSorted((a, b) => b - a));
  await button.press("Enter");
  assert.deepEqual(await column(), down.toSorted((a, b) => a - b));
  assert.equal(await page.locator("#policy-table thead th").nth(5).getAttribute("aria-sort"), "ascending");
  await close();
});

await step("policies and trials are filtered and searched", async () => {
  const { page, close } = await open("plain");
  await page.locator("input[data-filter]").fill("hybrid");
  assert.equal(await page.locator("#policy-table tbody tr:visible").count(), 1);
  const all = await page.locator("#trial-rows tr").count();
  assert.ok(all > 100, `${all}`);
  await page.locator("#trial-result").selectOption("wrong");
  const wrong = await texts(page, "#trial-rows tr td:nth-child(3)");
  assert.ok(wrong.length > 0 && wrong.length < all && wrong.every((text) => text === "wrong"));
  await page.locator("#trial-search").fill("slm-only access");
  const found = await texts(page, "#trial-rows tr");
  assert.ok(found.length > 0 && found.every((text) => /slm-only/.test(text) && /access/i.test(text)), `${found.length}`);
  await close();
});

await step("the break-even is the program's until an assumption is changed", async () => {
  const { page, close } = await open("plain");
  const before = await texts(page, "#even tbody td");
  const reference = await page.locator("#even-reference").textContent();
  await page.locator("#hours").fill("24");
  await page.locator("#hours").dispatchEvent("input");
  assert.deepEqual(await texts(page, "#even tbody td"), before);
  assert.equal(await page.locator("#even-reference").textContent(), reference);
  await page.locator("#hourly").fill("0.08");
  const after = await texts(page, "#even tbody td");
  const from = (all) => all.filter((_, place) => place % 7 === 1).map(Number).filter((number) => number > 0);
  from(before).forEach((number, place) => assert.ok(Math.abs(from(after)[place] / number - 2) < 0.01, `${before} ${after}`));
  await close();
});

await step("answers stand side by side without personal data", async () => {
  const { page, problems, close } = await open("plain");
  assert.equal(await page.locator("#gallery .answer").count(), 2);
  await page.locator(".gallery-step[data-step='1']").click();
  assert.equal(await page.locator("#gallery-sample").inputValue(), "1");
  await page.locator("#gallery summary").first().click();
  const shown = await page.locator("#gallery").textContent();
  assert.match(shown, /\[EMAIL_1\]/);
  assert.doesNotMatch(await page.content(), /jane\.doe/);
  assert.deepEqual(problems, []);
  await close();
});

await step("nothing of hostile texts executes or leaves its place", async () => {
  const { page, problems, close } = await open("hostile");
  await page.locator("#gallery-right").selectOption("1");
  await page.locator("#gallery summary").first().click();
  await page.locator("#trial-search").fill("ticket");
  await page.locator("#policy-table thead button").nth(2).click();
  await page.waitForTimeout(300);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("img, iframe, object, embed, link, base").count(), 0);
  assert.equal(await page.locator("script").count(), 2);
  assert.ok((await page.locator("#trial-rows tr").count()) > 0);
  assert.match(await page.locator("#gallery").textContent(), /<script>window\.hacked = 1<\/script>/);
  assert.doesNotMatch(await page.locator("body").innerText(), /[\u202a-\u202e\u2066-\u2069]/);
  assert.doesNotMatch(await page.content(), /\b49\b.*\{\{/);
  assert.deepEqual(problems, []);
  await close();
});

for (const run of ["plain", "hostile"]) {
  for (const [name, options] of [["light", {}], ["dark", { dark: true }], ["390 pixels", { width: 390, height: 844 }], ["390 pixels, dark", { width: 390, height: 844, dark: true }], ["320 pixels", { width: 320, height: 700 }]]) {
    await step(`${run}, ${name}: no overflow, contrast and roles pass`, async () => {
      const { page, problems, close } = await open(run, options);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(over <= 0, `${over} pixels wider than the screen`);
      await page.locator("details").evaluateAll((all) => all.forEach((details) => { details.open = true; }));
      await page.evaluate(axe);
      const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const told = found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ")}`);
      assert.deepEqual(told, []);
      assert.deepEqual(problems, []);
      await close();
    });
  }
}

await step("the page is read without its script, but for what is chosen in it", async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(address("plain"));
  assert.ok((await page.locator("#policy-table tbody tr").count()) >= 4);
  assert.match(await page.locator("[data-figure='quality']").textContent(), /0\.\d/);
  assert.ok((await page.locator("noscript").count()) >= 1);
  await context.close();
});

await step("everything is reached by the keyboard", async () => {
  const { page, close } = await open("plain");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the verdict");
  const wanted = new Set(["score", "stop", "price-in", "gallery-sample", "trial-search"]);
  for (let i = 0; i < 250 && wanted.size > 0; i += 1) {
    await page.keyboard.press("Tab");
    wanted.delete(await page.evaluate(() => document.activeElement.id));
  }
  assert.deepEqual([...wanted], []);
  await page.locator("#stop").focus();
  const before = await page.locator("[data-figure='sent']").textContent();
  await page.keyboard.press("End");
  assert.notEqual(await page.locator("[data-figure='sent']").textContent(), before);
  await close();
});

await browser.close();
console.log(steps.join("\n"));
