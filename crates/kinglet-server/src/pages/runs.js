// Runs side by side: a table to choose from, their curves in one chart each, the settings in which they differ, and
// their plots.

import { draw, sample, short, table } from "/chart.js";

const $ = id => document.getElementById(id);
const MAP50 = "metrics/mAP_0.5", MAP = "metrics/mAP_0.5:0.95";
/** Columns of results.csv, and what they are called. */
const CHARTS = [[MAP50, "mAP50"], [MAP, "mAP50-95"], ["metrics/precision", "Precision"], ["metrics/recall", "Recall"],
  ["train/box_loss", "Box loss, training"], ["train/obj_loss", "Objectness loss, training"], ["train/cls_loss", "Class loss, training"],
  ["val/box_loss", "Box loss, validation"], ["val/obj_loss", "Objectness loss, validation"],
  ["val/cls_loss", "Class loss, validation"], ["x/lr1", "Learning rate of the weights"]];
/** So many are chosen at first: the newest. */
const FIRST = 4;
let runs = [];
const chosen = new Set();

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = text ? (bad ? "card bad" : "card") : "hidden";
}

const column = (run, name) => {
  const index = run.columns.indexOf(name);
  return index < 0 ? [] : run.rows.map(row => row[index]);
};
const best = (run, name) => column(run, name).reduce((a, b) => (b !== null && (a === null || b > a) ? b : a), null);
const shown = () => runs.filter(run => chosen.has(run.name));
const metric = value => value === null ? "–" : value.toFixed(3);
/** The file counts epochs from 0, people from 1. */
const epochs = run => column(run, "epoch").map(epoch => (epoch === null ? NaN : epoch + 1));

async function read() {
  say("Reading …");
  try {
    const response = await fetch("/api/runs");
    if (!response.ok) throw new Error((await response.json()).error.message);
    const found = await response.json();
    const known = new Set(runs.map(run => run.name));
    runs = found.runs;
    $("folder").textContent = found.folder;
    if (known.size === 0)
      [...runs].sort((a, b) => b.modified - a.modified).slice(0, FIRST).forEach(run => chosen.add(run.name));
    const older = found.left_out ? `${found.left_out} older runs are left out: name a folder with fewer.` : "";
    say(runs.length ? older : "There is no run below this folder: no folder has a results.csv. `kinglet train` makes one.");
  } catch (error) {
    say(`The runs cannot be read: ${error.message}. Is \`kinglet ui\` still running?`, true);
  }
  show();
}

function listRuns() {
  const words = $("filter").value.toLowerCase();
  const list = runs.filter(run => run.name.toLowerCase().includes(words));
  const rows = list.map(run => {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: chosen.has(run.name) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(run.name); else chosen.delete(run.name);
      show();
      // The table was made anew: the focus goes where it was.
      [...$("runs").querySelectorAll("input")].find(b => b.dataset.run === run.name)?.focus();
    });
    box.dataset.run = run.name;
    label.className = "choice";
    label.append(box, run.name || "(this folder)");
    if (chosen.has(run.name)) label.append(sample(shown().indexOf(run)));
    const at = column(run, MAP50).indexOf(best(run, MAP50));
    return [label, run.rows.length, metric(best(run, MAP50)), at < 0 ? "–" : short(epochs(run)[at]), metric(best(run, MAP)),
      new Date(run.modified * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" }), run.problems.join("; ")];
  });
  const columns = ["run", "epochs", "best mAP50", "in epoch", "best mAP50-95", "last written"];
  const problems = rows.some(row => row[6]);
  $("runs").replaceChildren(table(problems ? [...columns, "could not be read"] : columns, rows.map(row => (problems ? row : row.slice(0, 6)))));
}

function showCharts() {
  const there = CHARTS.filter(([name]) => shown().some(run => column(run, name).some(v => v !== null && v !== 0)));
  $("charts").replaceChildren(...there.map(([name, title]) => {
    const card = document.createElement("section");
    card.className = "card";
    const series = shown().map(run => {
      const ys = column(run, name);
      return { name: run.name || "this folder", points: epochs(run).map((x, i) => [x, ys[i] ?? NaN]) };
    });
    draw(card, title, series);
    return card;
  }));
}

function showSettings() {
  const list = shown();
  const keys = [...new Set(list.flatMap(run => Object.keys(run.settings)))].filter(key => !["save_dir", "name", "project"].includes(key));
  const differ = keys.filter(key => new Set(list.map(run => run.settings[key])).size > 1).sort();
  if (list.length < 2 || differ.length === 0) {
    $("settings").textContent = list.length < 2 ? "Choose two runs or more." : "None: the runs have the same settings.";
    return;
  }
  const value = (run, key) => {
    const cell = document.createElement("span");
    cell.textContent = run.settings[key] ?? "–";
    return cell;
  };
  $("settings").replaceChildren(table(["setting", ...list.map(run => run.name || "this folder")],
    differ.map(key => [key, ...list.map(run => value(run, key))])));
}

function showPlots() {
  const list = shown();
  const names = [...new Set(list.flatMap(run => run.pictures))].sort();
  const select = $("picture"), before = select.value;
  select.replaceChildren(...names.map(name => new Option(name, name)));
  if (names.length === 0) select.append(new Option("none", ""));
  select.value = names.includes(before) ? before : names.includes("results.png") ? "results.png" : names[0] ?? "";
  $("plots").replaceChildren(...list.filter(run => run.pictures.includes(select.value)).map(run => {
    const path = [...run.name.split("/").filter(Boolean), select.value].map(encodeURIComponent).join("/");
    const figure = document.createElement("figure"), link = document.createElement("a"), img = document.createElement("img");
    const caption = document.createElement("figcaption");
    link.href = img.src = `/pictures/${path}`;
    Object.assign(img, { alt: `${select.value} of ${run.name}`, loading: "lazy" });
    caption.textContent = run.name || "this folder";
    link.append(img);
    figure.append(link, caption);
    return figure;
  }));
}

function show() {
  listRuns();
  showCharts();
  showSettings();
  showPlots();
}

$("again").addEventListener("click", read);
$("filter").addEventListener("input", listRuns);
$("picture").addEventListener("change", showPlots);
$("all").addEventListener("click", () => { runs.forEach(run => chosen.add(run.name)); show(); });
$("none").addEventListener("click", () => { chosen.clear(); show(); });
read();
