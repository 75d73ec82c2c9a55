// One chart as SVG in real pixels, so that text keeps its size on a phone.
const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 50, right: 14, top: 26, bottom: 42 };
const RADIUS = 4.2;

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function polygon(corners, size, turn, inner = 1) {
  const points = [];
  for (let i = 0; i < corners; i++) {
    const angle = turn + (2 * Math.PI * i) / corners;
    const radius = size * (i % 2 ? inner : 1);
    points.push(`${(radius * Math.cos(angle)).toFixed(2)},${(radius * Math.sin(angle)).toFixed(2)}`);
  }
  return `M${points.join("L")}Z`;
}

const UP = -Math.PI / 2;
const OUTLINES = {
  circle: `M${-RADIUS},0a${RADIUS},${RADIUS} 0 1 0 ${2 * RADIUS},0a${RADIUS},${RADIUS} 0 1 0 ${-2 * RADIUS},0Z`,
  square: polygon(4, RADIUS * 1.3, Math.PI / 4),
  triangle: polygon(3, RADIUS * 1.45, UP),
  diamond: polygon(4, RADIUS * 1.4, 0),
  down: polygon(3, RADIUS * 1.45, -UP),
  pentagon: polygon(5, RADIUS * 1.25, UP),
  star: polygon(10, RADIUS * 1.6, UP, 0.45),
};

function colour(method) {
  return `var(--hue${method.hue})`;
}

function marker(method, x, y) {
  const paint = method.plain ? `stroke:${colour(method)}` : `stroke:${colour(method)};fill:${colour(method)}`;
  const kind = method.plain ? "marker plain" : "marker";
  return shape("path", { d: OUTLINES[method.marker], class: kind, style: paint, transform: `translate(${x},${y})` });
}

// The line and marker of a method, for legends; `into` is an svg element with class key.
function drawKey(into, method) {
  into.setAttribute("viewBox", "0 0 28 14");
  into.setAttribute("aria-hidden", "true");
  into.replaceChildren(
    shape("path", { d: "M0,7H28", class: method.plain ? "line plain" : "line", style: `stroke:${colour(method)}` }),
    marker(method, 14, 7),
  );
  return into;
}

function axes(svg, spec, place, width, height) {
  const bottom = height - MARGIN.bottom;
  for (const tick of spec.y.ticks || makeTicks(spec.y.scale, spec.y.domain, 5)) {
    const y = place.y(tick);
    svg.append(shape("path", { d: `M${MARGIN.left},${y}H${width - MARGIN.right}`, class: "grid" }));
    svg.append(shape("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, written(tick)));
  }
  let last = -Infinity;
  for (const tick of spec.x.ticks || makeTicks(spec.x.scale, spec.x.domain, width / 90)) {
    const x = place.x(tick);
    if (Math.abs(x - last) < 30) continue;
    last = x;
    svg.append(shape("path", { d: `M${x},${bottom}v5`, class: "grid" }));
    svg.append(shape("text", { x, y: bottom + 18, "text-anchor": "middle" }, written(tick)));
  }
  svg.append(shape("path", { d: `M${MARGIN.left},${bottom}H${width - MARGIN.right}`, class: "grid" }));
  svg.append(shape("text", { x: 0, y: 11 }, spec.y.label));
  svg.append(shape("text", { x: width - MARGIN.right, y: height - 4, "text-anchor": "end" }, spec.x.label));
}

function drawLine(into, line, place) {
  const at = line.points.map((p) => [place.x(p.x) + (line.shift || 0), place.y(p.y)]);
  const style = line.method ? `stroke:${colour(line.method)}` : "";
  const name = line.method ? (line.method.plain ? "line plain" : "line") : "line exact";
  const group = shape("g", { "data-line": line.method ? line.method.name : "exact" });
  const known = line.points.filter((p) => p.low !== undefined && p.low !== null);
  if (line.band && known.length) {
    const edge = (key) => known.map((p) => `${place.x(p.x)},${place.y(p[key])}`);
    const outline = [...edge("low"), ...edge("high").reverse()].join("L");
    group.append(shape("path", { d: `M${outline}Z`, class: "band", style: `fill:${colour(line.method)}` }));
  } else {
    for (const p of known) {
      const x = place.x(p.x) + (line.shift || 0);
      const d = `M${x - 3},${place.y(p.low)}h6m-3,0V${place.y(p.high)}m-3,0h6`;
      group.append(shape("path", { d, class: "bar", style: `${style};fill:none` }));
    }
  }
  group.append(shape("path", { d: `M${at.map((p) => p.join(",")).join("L")}`, class: name, style }));
  if (line.method) group.append(...at.map(([x, y]) => marker(line.method, x, y)));
  into.append(group);
}

// spec: {x, y: {scale, domain, label, ticks?}, lines: [{method?, points: [{x, y, low?, high?}], band?, shift?}], zero?,
// ends?, height}.  Returns the scales, for the readout.
function drawChart(host, spec) {
  const [width, height] = [host.clientWidth, spec.height];
  const place = {
    x: makeScale(spec.x.scale, spec.x.domain, [MARGIN.left, width - MARGIN.right]),
    y: makeScale(spec.y.scale, spec.y.domain, [height - MARGIN.bottom, MARGIN.top]),
  };
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": spec.title });
  const clip = `clip-${host.id}`;
  const inside = { x: MARGIN.left - 7, y: MARGIN.top - 7, width: width - MARGIN.left - MARGIN.right + 14 };
  const frame = shape("rect", { ...inside, height: height - MARGIN.top - MARGIN.bottom + 14 });
  svg.append(shape("clipPath", { id: clip }, frame));
  axes(svg, spec, place, width, height);
  const plot = shape("g", { "clip-path": `url(#${clip})` });
  if (spec.zero) plot.append(shape("path", { d: `M${MARGIN.left},${place.y(0)}H${width - MARGIN.right}`, class: "zero" }));
  for (const line of spec.lines) drawLine(plot, line, place);
  for (const [d, point] of spec.ends || []) {
    plot.append(shape("path", { d, class: "end", transform: `translate(${place.x(point.x)},${place.y(point.y)})` }));
  }
  svg.append(plot);
  host.querySelector(":scope > svg")?.remove();
  host.prepend(svg);
  return place;
}
