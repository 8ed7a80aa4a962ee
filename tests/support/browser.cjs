// What a browser finds on a page, as JSON: node browser.cjs '{"modules", "chromium", "url", "width", "height", "dark"}'.
"use strict";
const fs = require("node:fs"), path = require("node:path");

const given = JSON.parse(process.argv[2]);
const {chromium} = require(path.join(given.modules, "playwright-core"));
const axe = fs.readFileSync(path.join(given.modules, "axe-core", "axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const CONTROLS = "a[href], button, select, input:not([type=hidden]), textarea, summary, [tabindex='0']";

// Where focus goes by the key Tab alone: the controls that it never reaches.
async function unreached(page) {
  const count = await page.evaluate(controls => {
    const seen = element => element.checkVisibility({visibilityProperty: true}) && !element.disabled;
    const found = [...document.querySelectorAll(controls)].filter(seen);
    found.forEach((element, i) => { element.dataset.control = i; });
    document.activeElement.blur();
    window.scrollTo(0, 0);
    return found.length;
  }, CONTROLS);
  const reached = new Set();
  // What scrolls takes focus as well, and is no control.
  for (let i = 0; i < 2 * count + 100 && reached.size < count; i++) {
    await page.keyboard.press("Tab");
    const place = await page.evaluate(() => document.activeElement.dataset.control);
    if (place !== undefined) reached.add(place);
  }
  return page.evaluate(seen => [...document.querySelectorAll("[data-control]")]
    .filter(element => !seen.includes(element.dataset.control)).map(element => element.outerHTML.slice(0, 200)), [...reached]);
}

// Every variable of every variant on both axes: where neither a line is drawn nor said that there is no number to draw,
// or where a path has a place that is none.
const undrawn = page => page.evaluate(() => {
  const empty = [];
  for (const root of document.querySelectorAll(".curves")) {
    const [variable, variant, log] = ["variable", "variant", "log-values"].map(name => root.querySelector(`[name=${name}]`));
    const choose = (select, value) => { select.value = value; select.dispatchEvent(new Event("change")); };
    const look = what => {
      const paths = [...root.querySelectorAll(".plot path")].map(path => path.getAttribute("d"));
      const lines = [...root.querySelectorAll(".plot .line")].filter(line => line.getAttribute("d"));
      const said = /no .*number to draw/.test(root.querySelector(".plot").textContent);
      if ((!lines.length && !said) || paths.some(d => /NaN|undefined|Infinity/.test(d))) empty.push(what);
    };
    for (const {value: name} of [...variable.options]) {
      choose(variable, name);
      for (const {value: own} of [...variant.options]) {
        choose(variant, own);
        for (const checked of log.disabled ? [log.checked] : [true, false]) {
          log.checked = checked;
          log.dispatchEvent(new Event("change"));
          look(`${name}, ${own}, ${checked ? "log" : "linear"}`);
        }
      }
    }
    choose(variable, variable.options[0].value);
  }
  return empty;
});

// Values are read off by pointer and by keyboard.
async function readings(page) {
  const said = () => page.evaluate(() => [...document.querySelectorAll(".curves output")].map(output => output.textContent));
  const first = await said();
  for (const plot of await page.locator(".curves .plot").all()) {
    await plot.hover({position: {x: 70, y: 60}});
  }
  const hovered = await said();
  for (const slider of await page.locator(".curves [name=step]").all()) {
    await slider.focus();
    await page.keyboard.press("End");
  }
  return {first, hovered, pressed: await said()};
}

async function found(page, asked, said) {
  await page.goto(given.url, {waitUntil: "load"});
  await page.waitForFunction(() => [...document.querySelectorAll(".curves")].every(root => !root.hidden));
  if (given.screenshot) await page.screenshot({path: given.screenshot, fullPage: true});
  const facts = {
    title: await page.title(),
    pictures: await page.evaluate(() => [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.alt)),
    plots: await page.evaluate(() => [...document.querySelectorAll(".plot")].map(plot => plot.querySelectorAll(".line[d]").length)),
    sideways: await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
    undrawn: await undrawn(page),
    readings: await readings(page),
    unreached: await unreached(page),
  };
  // Places are compared while the page stands still: the theme's scrolling is smooth, and Tab has scrolled.
  await page.evaluate(() => window.scrollTo({top: 0, behavior: "instant"}));
  await page.evaluate(axe);
  const checked = await page.evaluate(rules => window.axe.run(document, {runOnly: rules}), RULES);
  facts.violations = checked.violations.map(rule => `${rule.id}: ${rule.nodes.map(node => node.target.join(" ")).slice(0, 5)}`);
  facts.passed = checked.passes.length;
  await page.emulateMedia({media: "print"});
  facts.printed = await page.evaluate(() => document.querySelector("main, [role=main], body").innerText.trim().length);
  facts.pdf = (await page.pdf({format: "A4"})).length;
  return {...facts, asked, said};
}

(async () => {
  const browser = await chromium.launch({executablePath: given.chromium, args: ["--no-sandbox", "--disable-gpu"]});
  try {
    const page = await browser.newPage({
      viewport: {width: given.width, height: given.height}, colorScheme: given.dark ? "dark" : "light",
    });
    const own = new URL(given.url), asked = [], said = [];
    page.on("request", request => {
      const url = new URL(request.url()), local = own.protocol === "file:" ? url.href.split("#")[0] === own.href : url.origin === own.origin;
      if (!local && !["data:", "blob:"].includes(url.protocol)) asked.push(request.url());
    });
    page.on("console", message => { if (["error", "warning"].includes(message.type())) said.push(message.text()); });
    page.on("pageerror", error => said.push(String(error)));
    page.on("requestfailed", request => said.push(`failed: ${request.url().slice(0, 200)}`));
    page.on("response", response => { if (response.status() >= 400) said.push(`${response.status()}: ${response.url()}`); });
    console.log(JSON.stringify(await found(page, asked, said)));
  } finally {
    await browser.close();
  }
})().catch(error => { console.error(error); process.exit(1); });
