// The figures: what each shows of the data.  Each gives a spec for drawChart and the stops of its readout.
const CLEAR = "M-6,0a6,6 0 1 0 12,0a6,6 0 1 0 -12,0"; // a ring, where a path starts
const CROSS = "M-5,-5L5,5M-5,5L5,-5"; // where the exact one ends

const OF_FEATURES = {
  fd: ["Fréchet distance", "Of features: less is better."],
  kid: ["Kernel distance (KID)", "Of features: less is better."],
  precision: ["Precision", "Samples like the data: more is better."],
  recall: ["Recall", "The data that samples cover: more is better."],
  agreement: ["Class agreement", "Of the class that was asked for: more is better."],
};

function chosen(state, list) {
  return list.filter((one) => one.nfe === state.nfe && state.shown.has(one.method));
}

const SHARES = new Set(["precision", "recall", "agreement"]); // from 0 to 1

function curve(key, errorKey, label) {
  return (data, state) => {
    const rows = data.rows.filter((row) => row[key] !== null);
    const shown = rows.filter((row) => state.shown.has(row.method));
    const scale = !SHARES.has(key) && rows.every((row) => row[key] > 0) ? "log" : "linear";
    const methods = data.methods.map((_, i) => i).filter((i) => state.shown.has(i));
    const lines = methods.map((i, place) => ({
      method: data.methods[i],
      shift: (place - (methods.length - 1) / 2) * Math.min(3.5, 28 / methods.length), // so that error bars stay apart
      points: shown.filter((row) => row.method === i).sort((a, b) => a.nfe - b.nfe).map((row) => point(row, key, errorKey)),
    }));
    const values = (shown.length ? shown : rows).flatMap((row) => Object.values(point(row, key, errorKey)).slice(1));
    const y = spread(scale === "log" ? values.filter((v) => v > 0) : values, scale);
    for (const line of lines) for (const p of line.points) if (scale === "log" && p.low <= 0) p.low = y[0] / 2;
    const stops = (place) => data.counts.map((nfe) => column(nfe, shown, data, key, errorKey, place));
    return {
      spec: {
        title: label, height: 320, lines,
        x: { scale: "log", domain: spread(data.counts, "log"), ticks: data.counts, label: "network evaluations" },
        y: { scale, domain: y, label },
      },
      stops: (place) => stops(place).filter((stop) => stop.rows.length), column: true,
    };
  };
}

function point(row, key, errorKey) {
  const error = row[errorKey] || 0;
  return { x: row.nfe, y: row[key], low: row[key] - error, high: row[key] + error };
}

function column(nfe, shown, data, key, errorKey, place) {
  const rows = shown.filter((row) => row.nfe === nfe).sort((a, b) => a[key] - b[key]);
  return {
    x: place.x(nfe), y: MARGIN.top, title: `${nfe} evaluations`,
    rows: rows.map((row) => ({
      method: data.methods[row.method],
      text: `${written(row[key])} ± ${written(row[errorKey])}` + (key === "rms" ? `, median ${written(row.median)}` : ""),
    })),
  };
}

// What flies off is cut: the exact path keeps about a third of the frame.
function near(own, values) {
  const [low, high] = [Math.min(...own), Math.max(...own)];
  const room = Math.max(high - low, 0.2);
  return values.filter((v) => v >= low - room && v <= high + room);
}

function alongTime(data, label, pointsOf, list, options = {}) {
  return (_, state) => {
    const mine = chosen(state, list);
    const lines = mine.map((one) => ({ method: data.methods[one.method], band: true, points: pointsOf(one) }));
    if (options.exact) lines.unshift({ points: pointsOf(options.exact) });
    const values = lines.flatMap((line) => line.points.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]));
    const times = data.exact.t;
    const kept = options.exact ? near(options.exact.norm, values) : values;
    return {
      spec: {
        title: label, height: 290, lines, zero: options.zero,
        x: { scale: data.time.scale, domain: [times[0], times[times.length - 1]], label: data.time.label },
        y: { scale: "linear", domain: spread(options.zero ? [...kept, 0] : kept, "linear"), label },
      },
      stops: (place) => spots(lines, place, data.time.label, label), column: false,
    };
  };
}

function spots(lines, place, xLabel, yLabel) {
  return lines.flatMap((line) => (line.method ? line.points : []).map((p) => ({
    x: place.x(p.x), y: place.y(p.y), title: line.method.name,
    rows: [
      { text: `${xLabel} = ${written(p.x)}` },
      { text: `${yLabel} = ${written(p.y)}` + (p.error ? ` ± ${written(p.error)}` : "") },
    ],
  })));
}

function pixelPaths(data, state) {
  const mine = chosen(state, data.tracks);
  const path = (one) => one.watched[state.sample].map(([x, y]) => ({ x, y }));
  const exact = path(data.exact);
  const lines = [{ points: exact }, ...mine.map((one) => ({ method: data.methods[one.method], points: path(one) }))];
  const domain = (key) => {
    const all = lines.flatMap((line) => line.points.map((p) => p[key]));
    return spread(near(exact.map((p) => p[key]), all), "linear");
  };
  const label = (i) => `pixel ${data.pixels[i]}`;
  return {
    spec: {
      title: "Two pixels", height: 290, lines,
      ends: [[CLEAR, exact[0]], [CROSS, exact[exact.length - 1]]],
      x: { scale: "linear", domain: domain("x"), label: label(0) },
      y: { scale: "linear", domain: domain("y"), label: label(1) },
    },
    stops: (place) => spots(lines, place, label(0), label(1)), column: false,
  };
}

function errorsOf(one) {
  return one.t.map((t, k) => {
    const [value, error] = [one.value[k], one.error[k]];
    return { x: t, y: value, error, ...(error === null ? {} : { low: value - 2 * error, high: value + 2 * error }) };
  });
}

function figureList(data) {
  const norms = (one) => one.t.map((t, k) => ({ x: t, y: one.norm[k] }));
  const figures = [
    ["curves", "rms", "Distance to the exact solution", "From the same noise; bars are ± one standard error.",
      curve("rms", "rms_error", "RMS distance")],
  ];
  for (const name of data.figures) {
    const [title, caption] = OF_FEATURES[name] ?? [name, ""];
    figures.push(["curves", name, title, `${caption} Bars: ± one standard error.`, curve(name, `${name}_error`, title)]);
  }
  if (data.lambdas.length) {
    figures.push(["runs", "lambda", "What was fitted: λ along the run",
      "λ = 0 is the plain solver; above it, the output is extrapolated. Bands are ± two standard errors.",
      alongTime(data, "λ", errorsOf, data.lambdas, { zero: true })]);
  }
  figures.push(["runs", "norm", "Size of the state",
    "Root mean square of the state / √(α² + σ²), over the samples shown; the wide line is the exact solution.",
    alongTime(data, "RMS of the state", norms, data.tracks, { exact: data.exact })]);
  figures.push(["runs", "pixels", "Two pixels on their way",
    "Of the chosen picture, from noise (ring) to data; the wide line is the exact solution, the cross its end.",
    pixelPaths]);
  return figures;
}
