// Line charts as SVG, without a library. Numbers stand in a table beside each chart for those who do not see it.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 400, HEIGHT = 240, LEFT = 54, RIGHT = 22, TOP = 10, BOTTOM = 44;

function element(name, attributes, text) {
  const e = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

/** A number with as many digits as help: 0.0312, 12.5, 1e-5. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e5 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** Round steps that divide low..high into about `count` parts. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

/** The colour of series `i` by the scheme of the page. */
const colour = i => `var(--s${i % 8})`;
/** Lines differ by more than their colour, and one that lies on another lets it show through. */
const DASHES = ["", "9 4", "2 4"];
const dash = i => DASHES[i % DASHES.length];

/** A piece of the line of series `i`. */
export function sample(i) {
  const svg = element("svg", { viewBox: "0 0 26 8", class: "sample", "aria-hidden": "true" });
  const line = element("line", { x1: 1, x2: 25, y1: 4, y2: 4, "stroke-dasharray": dash(i) });
  line.style.stroke = colour(i);
  svg.append(line);
  return svg;
}

/** Draws `series` = [{name, points: [[epoch, value], ...]}] into `holder`, in place of what it held. */
export function draw(holder, title, series) {
  const shown = series.map((s, i) => ({ ...s, i, points: s.points.filter(p => Number.isFinite(p[0]) && Number.isFinite(p[1])) }));
  const points = shown.flatMap(s => s.points);
  const heading = document.createElement("h2");
  heading.textContent = title;
  if (points.length === 0) {
    const nothing = document.createElement("p");
    nothing.className = "soft";
    nothing.textContent = "No numbers yet.";
    holder.replaceChildren(heading, nothing);
    return;
  }
  const xs = points.map(p => p[0]), ys = points.map(p => p[1]);
  let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  y0 = Math.min(0, y0);
  if (x1 === x0) { x0 -= 1; x1 += 1; }
  if (y1 === y0) y1 += 1;
  const x = v => LEFT + (v - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
  const y = v => HEIGHT - BOTTOM - (v - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
  const last = s => s.points.length ? short(s.points[s.points.length - 1][1]) : "–";
  const words = shown.map(s => `${s.name || title} ${last(s)}`).join(", ");
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": `${title}: last ${words}` });
  for (const t of ticks(y0, y1, 4)) {
    svg.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(t), y2: y(t), class: "gridline" }));
    svg.append(element("text", { x: LEFT - 7, y: y(t) + 5, "text-anchor": "end" }, short(t)));
  }
  for (const t of ticks(x0, x1, 6).filter(Number.isInteger))
    svg.append(element("text", { x: x(t), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, short(t)));
  svg.append(element("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "epoch"));
  for (const s of shown) {
    if (s.points.length === 1) {
      const dot = element("circle", { cx: x(s.points[0][0]), cy: y(s.points[0][1]), r: 3 });
      dot.style.fill = colour(s.i);
      svg.append(dot);
      continue;
    }
    const d = s.points.map((p, k) => `${k ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("");
    const path = element("path", { d, "stroke-dasharray": dash(s.i) });
    path.style.stroke = colour(s.i);
    svg.append(path);
  }
  const legend = document.createElement("div");
  legend.className = "legend";
  for (const s of shown) {
    const item = document.createElement("span");
    item.append(sample(s.i), ` ${s.name ? s.name + ": " : ""}${last(s)}`);
    legend.append(item);
  }
  holder.replaceChildren(heading, svg, legend);
}

/** A table of `rows` under `columns`, for screen readers and for copying. */
export function table(columns, rows) {
  const made = document.createElement("table");
  const line = (cells, tag) => {
    const tr = document.createElement("tr");
    for (const cell of cells) {
      const c = document.createElement(tag);
      if (tag === "th") c.scope = "col";
      if (cell instanceof Node) c.append(cell); else c.textContent = cell;
      tr.append(c);
    }
    return tr;
  };
  made.createTHead().append(line(columns, "th"));
  made.createTBody().append(...rows.map(row => line(row, "td")));
  return made;
}
