// What a person would try on each page, in Chromium. Usage: node check.mjs live|detect|runs ADDRESS [PICTURE]
// CHROMIUM is the browser's path; where SHOTS names a folder, screenshots go there.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [what, address, picture] = process.argv.slice(2);
const PATIENCE = 120_000;
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: flags });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, permissions: ["camera"] });
const page = await context.newPage();
page.setDefaultTimeout(PATIENCE);

// Nothing may fail in silence, and nothing may be loaded from elsewhere.
const wrong = [], asked = [];
page.on("console", message => { if (message.type() === "error") wrong.push(message.text()); });
page.on("pageerror", error => wrong.push(String(error)));
page.on("request", request => {
  if (request.url().includes("/v2/detect")) asked.push(request.url());
  const here = request.url().startsWith(address) || /^(data|blob):/.test(request.url());
  if (!here) wrong.push(`loaded from elsewhere: ${request.url()}`);
});

async function shot(name, options = {}) {
  if (!process.env.SHOTS) return;
  mkdirSync(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: `${process.env.SHOTS}/${name}.png`, fullPage: true, ...options });
}

/** The page on a phone and in the dark: no sideways scrolling; and every control has a name. */
async function look(name) {
  await shot(name);
  await page.emulateMedia({ colorScheme: "dark" });
  await shot(`${name}-dark`);
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });
  const [content, view] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= view, `${name}: ${content} px of content on a phone of ${view} px`);
  await shot(`${name}-phone`);
  await page.setViewportSize({ width: 1280, height: 900 });
  const nameless = await page.evaluate(() => [...document.querySelectorAll("input, select, button, progress")]
    .filter(e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map(e => e.outerHTML));
  assert.deepEqual(nameless, [], "controls without a name");
  const silent = await page.evaluate(() => [...document.images].filter(i => !i.alt).length);
  assert.equal(silent, 0, "pictures without a text");
}

const set = (id, value) => page.$eval(`#${id}`, (e, v) => {
  e.value = v;
  e.dispatchEvent(new Event("input", { bubbles: true }));
}, value);

async function live() {
  await page.goto(address);
  await page.waitForFunction(() => document.querySelectorAll("svg.chart path").length >= 5);
  await page.waitForSelector("#group-train img");
  await page.waitForSelector("#group-val img");
  await look("live");
  const epochs = () => page.evaluate(() => Number(document.querySelector("#run-text").textContent.split(" ")[0]));
  const before = await epochs();
  await page.reload();
  await page.waitForFunction(least => Number(document.querySelector("#run-text").textContent.split(" ")[0]) >= least, before);
  await page.waitForFunction(() => document.querySelectorAll("svg.chart path").length >= 5);
  await page.waitForFunction(() => document.querySelector("#state").textContent.startsWith("done"));
  await page.click("#numbers summary");
  await page.waitForFunction(() => document.querySelectorAll("#table tbody tr").length === 20);
  await shot("live-end");
}

async function detect() {
  await page.goto(address);
  await page.waitForFunction(() => document.querySelector("#model").textContent.includes("classes"));
  await page.setInputFiles("#file", picture);
  await page.waitForSelector("#stage:not(.hidden)");
  for (const [conf, iou] of [[0.25, 0.45], [0.05, 0.45], [0.01, 0.9], [0.01, 0.2]]) {
    await set("conf", conf);
    await set("iou", iou);
    const shown = await page.evaluate(() => [...document.querySelectorAll("#found tbody tr")]
      .map(tr => [...tr.cells].slice(0, 2).map(td => td.textContent.trim()).join(" ")));
    const image = { name: "a.png", mimeType: "image/png", buffer: readFileSync(picture) };
    const answer = await page.request.post(`${address}v2/detect`, { multipart: { image, conf: String(conf), iou: String(iou) } });
    const told = (await answer.json()).images[0].detections.map(d => `${d.name} ${d.confidence.toFixed(2)}`);
    assert.deepEqual(shown, told, `the page at confidence ${conf}, IoU ${iou} shows what the server finds`);
    assert.ok(conf > 0.01 || told.length > 0, "low scores find something");
  }
  assert.equal(asked.length, 1, "sliders need no further inference");
  await set("conf", 0.25);
  await page.focus("#conf");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.textContent("#conf-value"), "0.26");
  await page.click("#reset");
  const cut = await page.$eval("#found", e => e.scrollWidth - e.clientWidth);
  assert.ok(cut <= 0, `${cut} px of the table of detections are out of sight`);
  await look("detect");
  await page.setInputFiles("#file", { name: "words.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
  await page.waitForFunction(() => document.querySelector("#status").className.includes("bad"));
  assert.match(await page.textContent("#status"), /expected a JPEG/);
  // The browser tells of the refused request itself.
  wrong.splice(0, wrong.length, ...wrong.filter(text => !text.includes("400")));
  await page.click("#camera");
  await page.waitForFunction(() => document.querySelector("#status").textContent.includes("pictures a second"));
  await page.click("#camera");
  assert.equal(await page.textContent("#camera"), "Use the camera");
}

async function runs() {
  await page.goto(address);
  await page.waitForFunction(() => document.querySelectorAll("#runs tbody tr").length === 2);
  await page.waitForFunction(() => document.querySelectorAll("#charts svg").length >= 5);
  await page.waitForFunction(() => [...document.querySelectorAll("#plots img")].filter(i => i.naturalWidth > 0).length === 2);
  assert.match(await page.textContent("#settings"), /seed/);
  await look("runs");
  await page.click("#runs input");
  await page.waitForFunction(() => document.querySelectorAll("#plots img").length === 1);
  await page.click("#all");
  await page.fill("#filter", "exp2");
  assert.equal(await page.locator("#runs tbody tr").count(), 1);
}

try {
  await { live, detect, runs }[what]();
  assert.deepEqual(wrong, [], "the browser complains");
  console.log(`${what}: passed`);
} finally {
  await browser.close();
}
