// What is shown, and everything drawn again when it changes.
function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const state = {
    shown: new Set(data.methods.keys()),
    nfe: data.counts[Math.floor((data.counts.length - 1) / 2)],
    sample: 0,
    difference: false,
  };
  const charts = figureList(data).map((figure) => addFigure(figure, data, state));
  const redraw = () => {
    charts.forEach((draw) => draw());
    if (data.wall) drawWall(data, state, choose);
  };
  const choose = (sample) => {
    state.sample = sample;
    redraw();
  };
  if (!data.wall) document.getElementById("wall").remove();
  document.querySelectorAll("table .key").forEach((key) => drawKey(key, data.methods[key.dataset.method]));
  addLegend(data, state, redraw);
  addSlider(data, state, redraw);
  addTheme();
  document.getElementById("difference")?.addEventListener("change", (event) => {
    state.difference = event.target.checked;
    redraw();
  });
  redraw();
}

function addFigure([section, id, title, caption, make], data, state) {
  const figure = document.createElement("figure");
  figure.id = `figure-${id}`;
  const head = document.createElement("h3");
  head.textContent = title;
  const text = document.createElement("p");
  text.className = "caption";
  text.textContent = caption;
  const host = document.createElement("div");
  host.className = "chart";
  host.id = `chart-${id}`;
  figure.append(head, text, host);
  document.getElementById(section).append(figure);
  const tell = makeReadout(host);
  let width = 0;
  const draw = () => {
    width = host.clientWidth;
    const { spec, stops, column } = make(data, state);
    tell(stops(drawChart(host, spec)), column);
  };
  new ResizeObserver(() => host.clientWidth !== width && draw()).observe(host);
  return draw;
}

function addLegend(data, state, redraw) {
  const legend = document.getElementById("legend");
  data.methods.forEach((method, i) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.method = method.name;
    chip.setAttribute("aria-pressed", "true");
    chip.append(drawKey(keyFor(), method), method.name);
    chip.addEventListener("click", () => {
      if (!state.shown.delete(i)) state.shown.add(i);
      chip.setAttribute("aria-pressed", String(state.shown.has(i)));
      redraw();
    });
    legend.append(chip);
  });
}

function addSlider(data, state, redraw) {
  const [slider, count] = [document.getElementById("nfe"), document.getElementById("count")];
  slider.max = data.counts.length - 1;
  slider.value = data.counts.indexOf(state.nfe);
  slider.disabled = data.counts.length < 2;
  const tell = () => {
    count.textContent = state.nfe;
    slider.setAttribute("aria-valuetext", `${state.nfe} evaluations`);
  };
  slider.addEventListener("input", () => {
    state.nfe = data.counts[slider.value];
    tell();
    redraw();
  });
  tell();
}

function addTheme() {
  const root = document.documentElement;
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark() ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
}

start();
