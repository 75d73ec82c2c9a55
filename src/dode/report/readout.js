// Numbers under the pointer, the finger or the arrow keys: a chart has stops, each a place with lines of text.
function makeReadout(host) {
  const box = document.createElement("div");
  box.className = "readout";
  box.hidden = true;
  box.setAttribute("role", "status");
  host.append(box);
  host.tabIndex = 0;
  const chart = { stops: [], at: -1, column: false };
  const show = (index) => showStop(host, box, chart, index);
  const nearest = (event) => {
    const edge = host.getBoundingClientRect();
    const [x, y] = [event.clientX - edge.left, event.clientY - edge.top];
    const away = (stop) => Math.hypot(stop.x - x, chart.column ? 0 : stop.y - y);
    const best = chart.stops.reduce((a, b, i) => (away(b) < away(chart.stops[a]) ? i : a), 0);
    show(chart.stops.length ? best : -1);
  };
  host.addEventListener("pointermove", nearest);
  host.addEventListener("pointerdown", nearest);
  host.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(-1));
  host.addEventListener("blur", () => show(-1));
  host.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !chart.stops.length) return;
    event.preventDefault();
    show((Math.max(chart.at, step > 0 ? -1 : 0) + step + chart.stops.length) % chart.stops.length);
  });
  return (stops, column) => {
    Object.assign(chart, { stops, column });
    show(-1);
  };
}

function showStop(host, box, chart, index) {
  chart.at = index;
  box.hidden = index < 0;
  host.querySelectorAll(".guide, .spot").forEach((old) => old.remove());
  if (index < 0) return;
  const stop = chart.stops[index];
  const svg = host.querySelector(":scope > svg");
  const [top, bottom] = [MARGIN.top, svg.height.baseVal.value - MARGIN.bottom];
  const mark = chart.column
    ? shape("path", { d: `M${stop.x},${top}V${bottom}`, class: "guide" })
    : shape("circle", { cx: stop.x, cy: stop.y, r: 8, class: "spot" });
  svg.append(mark);
  const title = document.createElement("b");
  title.textContent = stop.title;
  box.replaceChildren(title, ...stop.rows.map(readoutRow));
  const room = host.clientWidth - box.offsetWidth;
  const left = stop.x > host.clientWidth / 2 ? stop.x - box.offsetWidth - 14 : stop.x + 14;
  box.style.left = `${Math.max(0, Math.min(left, room))}px`;
  const over = chart.column ? MARGIN.top : Math.min(stop.y, bottom - box.offsetHeight);
  box.style.top = `${Math.max(0, over)}px`;
}

function readoutRow({ method, text }) {
  const row = document.createElement("div");
  if (method) {
    const name = document.createElement("span");
    name.className = "who";
    name.textContent = method.name;
    row.append(drawKey(keyFor(), method), name);
  }
  const value = document.createElement("span");
  value.className = "value";
  value.textContent = text;
  row.append(value);
  return row;
}

function keyFor() {
  return shape("svg", { class: "key" });
}
