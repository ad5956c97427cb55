"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const FIGURES = ["gb_per_s", "cpu_s_per_gb", "beyond_mib", "gap_ms", "p99_ms"];
const LEAST = { beyond_mib: 0.01, gap_ms: 0.01 };
const LIGHT = {
  ours: "#c2410c", "ours-copy": "#d98a5b", "ours-borrow": "#a05a2c", "ours-map": "#7c2d12", "ours-a2a": "#e0a070",
  httpx: "#6b7280", httpx2: "#9b59b6", aiohttp: "#0072b2", requests: "#b8860b", pyreqwest: "#007a5a", wreq: "#cc4b8d",
  obstore: "#3b9dd9", "aiohttp-slices": "#5b8db8", "httpx-slices": "#999999", raw: "#1b1f24",
};
const DARK = {
  ...LIGHT, ours: "#ff8a4c", "ours-copy": "#ffc09a", "ours-borrow": "#d9925f", "ours-map": "#e86a3a", httpx: "#a3acb8",
  httpx2: "#c792ea", aiohttp: "#4fb3ff", requests: "#e6c34d", pyreqwest: "#3ddba4", wreq: "#ff8ac4", obstore: "#8fd3ff",
  raw: "#f2f4f7",
};
const DASHES = { "ours-copy": "dot", "ours-borrow": "dash", "ours-map": "dashdot", raw: "dot" };
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 760px)");
const hidden = new Set(["ours-copy", "ours-borrow", "ours-map", "httpx-slices", "aiohttp-slices"]);
const byId = (id) => document.getElementById(id);
const color = (name) => (dark.matches ? DARK : LIGHT)[name] ?? "#888888";
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const group = () => data.groups[byId("group").value];
const round = (value) => Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
}

function trace(chosen, backend, figure) {
  const points = backend.figures[figure];
  const least = LEAST[figure] ?? 0;
  const at = chosen.sizes.map((size, index) => ({ size, index, point: points[index] })).filter(({ point }) => point);
  const drawn = (value) => Math.max(value, least);
  // A little to the side of each other, so that no interval hides another.
  const aside = 1.025 ** (chosen.backends.indexOf(backend) - (chosen.backends.length - 1) / 2);
  return {
    name: backend.name,
    x: at.map(({ size }) => size * aside),
    y: at.map(({ point }) => drawn(point[0])),
    error_y: {
      type: "data", symmetric: false, thickness: 1, width: 2, color: color(backend.name),
      array: at.map(({ point }) => drawn(point[2]) - drawn(point[0])),
      arrayminus: at.map(({ point }) => drawn(point[0]) - drawn(point[1])),
    },
    text: at.map(({ point, index }) => `${chosen.names[index]}: ${round(point[0])} (${round(point[1])} to ${round(point[2])}), `
      + `${point[3]} processes${backend.loaded[index] ? ", under load" : ""}`),
    hovertemplate: "<b>%{fullData.name}</b> %{text}<extra></extra>",
    mode: "lines+markers",
    line: { color: color(backend.name), width: backend.name === "ours" ? 3.5 : 1.8, dash: DASHES[backend.name] },
    marker: { size: backend.name === "ours" ? 7 : 5 },
  };
}

function idle(chosen) {
  const highest = chosen.sizes.map((_, index) => Math.max(0, ...chosen.backends
    .map((backend) => backend.figures.idle_gap_ms?.[index]?.[0] ?? 0)));
  return {
    name: "idle", x: chosen.sizes, y: highest, mode: "lines", fill: "tozeroy", hoverinfo: "skip",
    line: { width: 0 }, fillcolor: dark.matches ? "#ffffff22" : "#00000018",
  };
}

function speedAt(chosen, name, size) {
  const points = chosen.backends.find((backend) => backend.name === name).figures.gb_per_s;
  const right = chosen.sizes.findIndex((each, index) => each >= size && points[index]);
  let left = right - 1;
  while (left > 0 && !points[left]) left -= 1;
  const part = Math.log(size / chosen.sizes[left]) / Math.log(chosen.sizes[right] / chosen.sizes[left]);
  return Math.exp(Math.log(points[left][0]) * (1 - part) + Math.log(points[right][0]) * part);
}

function crossings(chosen) {
  const shown = chosen.crossings.filter(({ ahead, behind }) => !hidden.has(ahead) && !hidden.has(behind));
  byId("crossings").replaceChildren(...chosen.crossings.map(({ ahead, behind, named }) =>
    element("li", `from about ${named} on, ${ahead} is faster than ${behind}`)));
  return {
    name: "crossovers", mode: "markers", x: shown.map(({ size }) => size),
    y: shown.map(({ ahead, size }) => speedAt(chosen, ahead, size)),
    text: shown.map(({ ahead, behind, named }) => `${ahead} overtakes ${behind} at about ${named}`),
    hovertemplate: "%{text}<extra></extra>",
    marker: { symbol: "diamond-open", size: 13, color: token("--ink"), line: { width: 2 } },
  };
}

function layout(chosen) {
  const every = narrow.matches && chosen.sizes.length > 5 ? 2 : 1;
  const ticks = chosen.sizes.filter((_, index) => index % every === 0);
  const axis = { gridcolor: token("--line"), zeroline: false, linecolor: token("--line") };
  return {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", showlegend: false, hovermode: "closest",
    font: { color: token("--ink"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 46, r: 10, t: 10, b: 36 },
    hoverlabel: { bgcolor: token("--paper"), font: { color: token("--ink") } },
    xaxis: { ...axis, type: "log", tickvals: ticks, ticktext: ticks.map((size) => chosen.names[chosen.sizes.indexOf(size)]) },
    yaxis: { ...axis, type: "log", dtick: 1, exponentformat: "none", tickformat: "~r" },
  };
}

function draw() {
  const chosen = group();
  for (const figure of FIGURES) {
    const drawn = chosen.backends.filter((backend) => !hidden.has(backend.name) && backend.figures[figure]);
    const traces = drawn.map((backend) => trace(chosen, backend, figure));
    if (figure === "gap_ms") traces.unshift(idle(chosen));
    if (figure === "gb_per_s") traces.push(crossings(chosen));
    byId(figure).closest("figure").hidden = drawn.length === 0;
    if (drawn.length) Plotly.react(figure, traces, layout(chosen), { responsive: true, displaylogo: false, displayModeBar: false });
  }
}

function buttons() {
  byId("backends").replaceChildren(...group().backends.map(({ name }) => {
    const made = element("button", name, { type: "button", "aria-pressed": String(!hidden.has(name)), style: `--color: ${color(name)}` });
    made.addEventListener("click", () => {
      if (!hidden.delete(name)) hidden.add(name);
      made.setAttribute("aria-pressed", String(!hidden.has(name)));
      draw();
    });
    return made;
  }));
}

function table(id, head, rows) {
  const line = (cells, tag) => {
    const made = document.createElement("tr");
    made.append(...cells.map((cell) => typeof cell === "string" ? element(tag, cell) : cell));
    return made;
  };
  const top = document.createElement("thead");
  const body = document.createElement("tbody");
  top.append(line(head, "th"));
  body.append(...rows.map((row) => line(row, "td")));
  byId(id).replaceChildren(top, body);
}

function ratios() {
  const chosen = group();
  const cell = (found) => {
    if (!found) return element("td", "");
    const kind = !found.shown ? "even" : found.ratio > 1 ? "better" : "worse";
    return element("td", found.shown ? found.text : "~", { class: kind, title: found.why });
  };
  table("ratios", ["peer", ...chosen.names], chosen.ratios.map(({ peer, cells }) => [peer, ...cells.map(cell)]));
}

function figures() {
  const chosen = group();
  const figure = byId("figure").value;
  const cell = (point, loaded) => {
    const made = element("td", point ? round(point[0]) + (loaded ? "*" : "") : "");
    if (point) made.append(element("span", `${round(point[1])} to ${round(point[2])}`, { class: "spread" }));
    return made;
  };
  table("figures", ["backend", ...chosen.names], chosen.backends.map((backend) => [
    backend.name, ...chosen.names.map((_, index) => cell(backend.figures[figure]?.[index], backend.loaded[index]))]));
}

function show() {
  buttons();
  ratios();
  figures();
  draw();
}

async function plotly() {
  const packed = Uint8Array.from(atob(byId("plotly").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

async function main() {
  data.groups.forEach(({ title }, index) => byId("group").append(element("option", title, { value: index })));
  Object.entries(data.groups[0]?.units ?? {}).forEach(([name, unit]) => byId("figure").append(element("option", unit, { value: name })));
  await plotly();
  if (data.groups.length) {
    show();
    byId("group").addEventListener("change", show);
    byId("figure").addEventListener("change", figures);
    dark.addEventListener("change", show);
    narrow.addEventListener("change", draw);
  }
  document.body.dataset.ready = "yes";
}

main();
