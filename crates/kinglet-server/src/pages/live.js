// A training as it happens. The server sends the newest value of everything when this page comes (or comes back), then
// changes; so each event just replaces what was known.

import { draw, short, table } from "/chart.js";

const $ = id => document.getElementById(id);
const epochs = new Map(), notes = new Map();
let run = null, batch = null, finished = null, dirty = false;

const clock = s => !Number.isFinite(s) ? "–" : s < 60 ? `${Math.round(s)} s`
  : s < 3600 ? `${Math.floor(s / 60)} min ${Math.round(s % 60)} s` : `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min`;
const percent = v => `${(v * 100).toFixed(1)} %`;
const metric = v => v === null || v === undefined ? "–" : v.toFixed(3);

function figures(pairs) {
  $("figures").replaceChildren(...pairs.map(([name, value]) => {
    const holder = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
    [dt.textContent, dd.textContent] = [name, value];
    holder.append(dt, dd);
    return holder;
  }));
}

function showProgress() {
  if (!run) return;
  $("name").textContent = run.name;
  document.title = `${run.name}: ${batch ? `epoch ${batch.epoch} of ${run.epochs}` : "training"}`;
  const validating = batch?.validating;
  const within = batch ? (batch.done / Math.max(1, batch.batches)) : 0;
  const done = finished ? 1 : batch ? (batch.epoch - 1 + Math.min(within, 1)) / run.epochs : 0;
  $("run-bar").value = done;
  $("run-text").textContent = batch ? `${batch.epoch} of ${run.epochs}` : `– of ${run.epochs}`;
  $("phase").textContent = validating ? "Validating, batch" : "Batch";
  $("epoch-bar").value = validating ? validating[0] / validating[1] : within;
  $("epoch-text").textContent = validating ? `${validating[0]} of ${validating[1]}` : batch ? `${batch.done} of ${batch.batches}` : "–";
  const rows = inOrder();
  const measured = rows.filter(r => r.map50 !== null);
  const best = measured.reduce((a, b) => (a && a.map50 >= b.map50 ? a : b), null);
  const last = measured[measured.length - 1];
  figures([
    ["mAP50, last", metric(last?.map50)],
    [best ? `mAP50, best: epoch ${best.epoch}` : "mAP50, best", metric(best?.map50)],
    ["mAP50-95, last", metric(last?.map50_95)],
    ["images a second", batch ? short(batch.images_per_second) : "–"],
    ["waiting for data", batch ? percent(batch.waiting) : "–"],
    ["memory", batch ? `${(batch.memory / 1e9).toFixed(2)} GB` : "–"],
    ["time left", finished ? "done" : batch ? clock(batch.seconds_left) : "–"],
  ]);
}

/** A training that goes back to an earlier state does epochs again: they do not come in order. */
function inOrder() {
  return [...epochs.values()].sort((a, b) => a.epoch - b.epoch);
}

function showCharts() {
  const rows = inOrder();
  const line = (name, of) => ({ name, points: rows.map(r => [r.epoch, of(r) ?? NaN]) });
  const parts = of => ["box", "objectness", "class"].map((name, i) => line(name, r => of(r)?.[i]));
  draw($("map"), "Mean average precision", [line("mAP50", r => r.map50), line("mAP50-95", r => r.map50_95)]);
  draw($("train-loss"), "Training losses", parts(r => r.train_losses));
  draw($("val-loss"), "Validation losses", parts(r => r.val_losses));
  draw($("pr"), "Precision and recall", [line("precision", r => r.precision), line("recall", r => r.recall)]);
  draw($("lr"), "Learning rates", ["biases", "weights", "normalisation"].map((name, i) => line(name, r => r.lrs?.[i])));
  draw($("speed"), "Speed of training", [line("images a second", r => r.images_per_second)]);
  if ($("numbers").open) showTable(rows);
}

function showTable(rows) {
  const columns = ["epoch", "box", "obj", "class", "precision", "recall", "mAP50", "mAP50-95", "val box", "val obj", "val class", "lr"];
  $("table").replaceChildren(table(columns, rows.map(r => [r.epoch, ...r.train_losses.map(short), short(r.precision),
    short(r.recall), short(r.map50), short(r.map50_95), ...(r.val_losses ?? [null, null, null]).map(short), short(r.lrs?.[1])])));
}

/** Draws once a frame, however many events came. */
function redraw(charts = false) {
  dirty ||= charts;
  if (redraw.asked) return;
  redraw.asked = true;
  requestAnimationFrame(() => {
    redraw.asked = false;
    showProgress();
    if (dirty) showCharts();
    dirty = false;
  });
}

function showPictures({ group, title, pictures }) {
  const section = $(`group-${group}`);
  if (!section) return;
  section.classList.toggle("hidden", pictures.length === 0);
  section.querySelector("h2").textContent = title;
  section.querySelector(".pictures").replaceChildren(...pictures.map(p => {
    const figure = document.createElement("figure"), img = document.createElement("img"), caption = document.createElement("figcaption");
    Object.assign(img, { src: p.path, alt: p.text });
    caption.textContent = p.text;
    figure.append(img, caption);
    return figure;
  }));
}

function showNotes() {
  $("notes").classList.remove("hidden");
  $("notes-count").textContent = notes.size;
  $("notes-list").replaceChildren(...[...notes.entries()].sort((a, b) => a[0] - b[0]).map(([, text]) => {
    const li = document.createElement("li");
    li.textContent = text;
    return li;
  }));
}

function say(text, kind = "soft") {
  $("state").textContent = text;
  $("state").className = kind;
}

const source = new EventSource("/events");
source.onopen = () => say("training");
source.onerror = () => { if (!finished) say("The training does not answer: it ended, or is being started again. Trying …", "bad"); };
const on = (name, heard) => source.addEventListener(name, event => heard(JSON.parse(event.data)));
on("run", value => {
  // Another run at the same address: nothing of the old one counts.
  if (run && run.id !== value.id) location.reload();
  run = value;
  redraw(true);
});
on("batch", value => { batch = value; redraw(); });
on("epoch", value => { epochs.set(value.epoch, value); redraw(true); });
on("note", value => { notes.set(value.number, value.text); showNotes(); });
on("pictures", showPictures);
on("finished", value => {
  finished = value;
  source.close();
  say(value.text, value.good ? "good" : "bad");
  redraw(true);
});
$("numbers").addEventListener("toggle", () => showCharts());
showCharts();
