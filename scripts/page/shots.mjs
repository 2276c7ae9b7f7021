// Screenshots of a page: node target/page/shots.mjs REPORT.html FOLDER, after scripts/test-page.
// CHROMIUM names the browser.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [report, folder] = process.argv.slice(2).map((path) => resolve(path));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const shot = async (name, { width = 1280, height = 900, dark = false, full = true } = {}) => {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: dark ? "dark" : "light" });
  await page.goto(pathToFileURL(report).href);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: full });
  await page.close();
};
await shot("light");
await shot("dark", { dark: true });
await shot("narrow", { width: 390, height: 844 });
await shot("first-screen", { full: false, height: 1000 });
await shot("first-screen-dark", { full: false, height: 1000, dark: true });
await shot("first-screen-narrow", { full: false, width: 390, height: 844 });
const page = await browser.newPage();
await page.goto(pathToFileURL(report).href);
await page.pdf({ path: `${folder}/print.pdf`, format: "A4" });
await browser.close();
