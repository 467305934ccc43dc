// Boxes on a picture. The server is asked once for all candidates above the lowest confidence that the slider has; the
// sliders then choose among them here, by the rule of the server: best first, and of one class no two that overlap more.
// As there, overlaps are those of the whole boxes; what reaches beyond the picture is cut off afterwards.

import { table } from "/chart.js";

const LOWEST = 0.01, MOST_CANDIDATES = 3000;
const $ = id => document.getElementById(id);
const canvas = $("canvas"), paint = canvas.getContext("2d");
let model = null, source = null, candidates = [], kept = [], stream = null, ticket = 0;

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = text ? (bad ? "card bad" : "card") : "hidden";
}

const headers = () => {
  const key = sessionStorage.getItem("key");
  return key ? { "X-API-Key": key } : {};
};

/** Asks the server; what it refuses becomes an error with its words. */
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers() });
  } catch {
    throw new Error("The server does not answer. Is it still running? Then try again.");
  }
  if (response.ok) return response.json();
  if (response.status === 401) {
    $("key-form").classList.remove("hidden");
    $("key").focus();
  }
  const told = await response.json().catch(() => null);
  throw new Error(told ? `${told.error.message}: ${told.error.next_step}.` : `The server answered ${response.status}.`);
}

async function start() {
  try {
    model = await ask("/v2/model");
  } catch (error) {
    say(error.message, true);
    return;
  }
  $("key-form").classList.add("hidden");
  say("");
  const n = model.classes.length;
  $("model").textContent = `${model.model}, ${n} ${n === 1 ? "class" : "classes"}, ${model.width} × ${model.height} px`;
  $("classes").replaceChildren(...model.classes.map(c => {
    const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("span");
    Object.assign(box, { type: "checkbox", checked: true, value: c.class });
    swatch.className = "swatch";
    swatch.style.background = c.colour;
    label.append(box, swatch, c.name);
    return label;
  }));
  reset();
}

function reset() {
  $("conf").value = model ? Math.max(LOWEST, model.conf) : 0.25;
  $("iou").value = model ? model.iou : 0.45;
  for (const box of $("classes").querySelectorAll("input")) box.checked = true;
  choose();
}

/** Overlap of two boxes as a share of what they cover together. */
function overlap(a, b) {
  const w = Math.min(a.xmax, b.xmax) - Math.max(a.xmin, b.xmin), h = Math.min(a.ymax, b.ymax) - Math.max(a.ymin, b.ymin);
  if (w <= 0 || h <= 0) return 0;
  const area = d => (d.xmax - d.xmin) * (d.ymax - d.ymin);
  return w * h / (area(a) + area(b) - w * h);
}

/** Those of `found` (best first) that stay. */
function suppress(found, conf, iou, wanted, most) {
  const stay = [];
  for (const d of found) {
    if (stay.length >= most) break;
    if (d.confidence <= conf || !wanted.has(d.class)) continue;
    if (stay.every(s => s.class !== d.class || overlap(s, d) <= iou)) stay.push(d);
  }
  return stay;
}

function choose() {
  const conf = Number($("conf").value), iou = Number($("iou").value);
  $("conf-value").value = conf.toFixed(2);
  $("iou-value").value = iou.toFixed(2);
  const wanted = new Set([...$("classes").querySelectorAll("input:checked")].map(box => Number(box.value)));
  const cut = (v, most) => Math.min(Math.max(v, 0), most);
  kept = suppress(candidates, conf, iou, wanted, model ? model.max_det : 1000).map(d => ({
    ...d, xmin: cut(d.xmin, canvas.width), xmax: cut(d.xmax, canvas.width), ymin: cut(d.ymin, canvas.height), ymax: cut(d.ymax, canvas.height),
  }));
  show();
}

/** Black or white, whichever reads better on a colour. */
function readable(colour) {
  const [r, g, b] = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16) / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.22 ? "#000" : "#fff";
}

function show() {
  if (!source) return;
  paint.drawImage(source, 0, 0, canvas.width, canvas.height);
  // Sizes in pixels of the screen, whatever the picture's size.
  const scale = Math.max(1, canvas.width / Math.max(1, canvas.clientWidth || canvas.width));
  const line = 2 * scale, size = (canvas.clientWidth < 500 ? 11 : 13) * scale;
  paint.font = `600 ${size}px system-ui, sans-serif`;
  paint.textBaseline = "top";
  for (const d of [...kept].reverse()) {
    const colour = model.classes[d.class]?.colour ?? "#e63946";
    paint.lineWidth = line;
    paint.strokeStyle = colour;
    paint.strokeRect(d.xmin, d.ymin, d.xmax - d.xmin, d.ymax - d.ymin);
    const text = `${d.name} ${d.confidence.toFixed(2)}`, width = paint.measureText(text).width + size * 0.6, height = size * 1.35;
    const x = Math.max(0, Math.min(d.xmin - line / 2, canvas.width - width));
    const y = d.ymin - height >= 0 ? d.ymin - height : Math.max(0, d.ymin);
    paint.fillStyle = colour;
    paint.fillRect(x, y, width, height);
    paint.fillStyle = readable(colour);
    paint.fillText(text, x + size * 0.3, y + size * 0.2);
  }
  const n = kept.length;
  $("count").textContent = n === 0 ? "No objects at these settings" : n === 1 ? "1 object" : `${n} objects`;
  const rows = kept.map(d => {
    const name = document.createElement("span"), swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = model.classes[d.class]?.colour ?? "#e63946";
    name.append(swatch, " ", d.name);
    return [name, d.confidence.toFixed(2), `${Math.round(d.xmin)}, ${Math.round(d.ymin)}`,
      `${Math.round(d.xmax - d.xmin)} × ${Math.round(d.ymax - d.ymin)}`];
  });
  $("found").replaceChildren(table(["class", "score", "left, top", "size"], rows));
  const counts = new Map();
  for (const d of kept) counts.set(d.name, (counts.get(d.name) ?? 0) + 1);
  canvas.setAttribute("aria-label", `the picture with boxes: ${[...counts].map(([name, k]) => `${k} ${name}`).join(", ") || "none"}`);
  $("save").disabled = $("copy").disabled = false;
}

/** Sends a picture and takes its candidates. */
async function candidatesOf(blob) {
  const form = new FormData();
  form.append("image", blob, blob.name ?? "frame.jpg");
  for (const [key, value] of [["conf", LOWEST], ["iou", 1], ["max_det", MOST_CANDIDATES], ["clip", 0]]) form.append(key, value);
  return (await ask("/v2/detect", { method: "POST", body: form })).images[0];
}

async function open(file) {
  stopCamera();
  if (model && file.size > model.limits.bytes - 4096) {
    say(`The file has ${(file.size / 1e6).toFixed(1)} MB, more than the server takes (${(model.limits.bytes / 1e6).toFixed(1)} MB).`, true);
    return;
  }
  const mine = ++ticket;
  say(`Looking at ${file.name ?? "the picture"} …`);
  try {
    const [picture, found] = await Promise.all([
      createImageBitmap(file).catch(() => null),
      candidatesOf(file),
    ]);
    if (mine !== ticket) return;
    if (!picture) throw new Error("The browser cannot show this kind of picture; the server found "
      + `${found.detections.filter(d => d.confidence > Number($("conf").value)).length} candidates in it.`);
    source = picture;
    // The server's size: upright, as the boxes are.
    [canvas.width, canvas.height] = [found.width, found.height];
    candidates = found.detections;
    $("stage").classList.remove("hidden");
    say(`${file.name ?? "The picture"}: looked at in ${found.milliseconds.inference.toFixed(0)} ms`);
    choose();
  } catch (error) {
    if (mine === ticket) say(error.message, true);
  }
}

function stopCamera() {
  stream?.getTracks().forEach(track => track.stop());
  stream = null;
  $("camera").textContent = "Use the camera";
}

async function startCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    say("Browsers give the camera to pages from localhost or over HTTPS only. Open this page as http://localhost:PORT/.", true);
    return;
  }
  let mine;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    mine = stream;
  } catch (error) {
    say(`No camera: ${error.message}. Allow it for this page, or choose a picture.`, true);
    return;
  }
  ticket++;
  $("camera").textContent = "Stop the camera";
  const video = document.createElement("video");
  Object.assign(video, { srcObject: mine, muted: true, playsInline: true });
  await video.play();
  const frame = document.createElement("canvas");
  let rate = 0;
  while (stream === mine) {
    const begun = performance.now();
    // No larger than the network sees: less to send.
    const shrink = Math.min(1, Math.max(model.width, model.height) / Math.max(video.videoWidth, video.videoHeight));
    [frame.width, frame.height] = [Math.round(video.videoWidth * shrink), Math.round(video.videoHeight * shrink)];
    frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
    const blob = await new Promise(done => frame.toBlob(done, "image/jpeg", 0.9));
    try {
      const found = await candidatesOf(blob);
      if (stream !== mine) break;
      // The frame that the boxes belong to.
      if (canvas.width !== frame.width || canvas.height !== frame.height) [canvas.width, canvas.height] = [frame.width, frame.height];
      $("stage").classList.remove("hidden");
      source = await createImageBitmap(frame);
      candidates = found.detections;
      choose();
      rate = 0.8 * (rate || 1000 / (performance.now() - begun)) + 0.2 * 1000 / (performance.now() - begun);
      say(`Camera: ${rate.toFixed(1)} pictures a second`);
    } catch (error) {
      say(error.message, true);
      await new Promise(done => setTimeout(done, 1000));
    }
  }
}

$("file").addEventListener("change", event => {
  if (event.target.files[0]) open(event.target.files[0]);
  event.target.value = "";
});
$("camera").addEventListener("click", () => {
  if (!stream) return startCamera();
  stopCamera();
  say("");
});
for (const id of ["conf", "iou", "classes"]) $(id).addEventListener("input", choose);
$("reset").addEventListener("click", reset);
addEventListener("resize", show);
$("save").addEventListener("click", () => canvas.toBlob(blob => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "detections.png";
  link.click();
  URL.revokeObjectURL(link.href);
}));
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(JSON.stringify(kept, null, 1));
    say("Copied.");
  } catch {
    say("The browser does not let this page copy.", true);
  }
});
$("key-form").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  start();
});
const drop = $("drop");
for (const name of ["dragenter", "dragover"]) addEventListener(name, event => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) addEventListener(name, event => { event.preventDefault(); drop.classList.remove("over"); });
addEventListener("drop", event => { if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]); });
addEventListener("paste", event => { if (event.clipboardData.files[0]) open(event.clipboardData.files[0]); });
start();
