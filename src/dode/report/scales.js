// Scales map values to pixels; "root" is sigma^(1/7), in which EDM's grid is even and sigma = 0 has a place.
const BENDS = {
  linear: (v) => v,
  log: Math.log10,
  root: (v) => Math.sign(v) * Math.abs(v) ** (1 / 7),
};

function makeScale(kind, domain, range) {
  const bend = BENDS[kind];
  const [from, to] = domain.map(bend);
  return (value) => range[0] + ((bend(value) - from) / (to - from || 1)) * (range[1] - range[0]);
}

function makeTicks(kind, domain, count) {
  const [low, high] = [Math.min(...domain), Math.max(...domain)];
  if (kind === "root") return [0, 0.002, 0.02, 0.1, 0.5, 2, 10, 30, 80].filter((v) => v >= low && v <= high);
  return kind === "log" ? logTicks(low, high, count) : evenTicks(low, high, count);
}

function evenTicks(low, high, count) {
  const raw = (high - low) / count;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * size).find((s) => s >= raw);
  const first = Math.ceil(low / step);
  const ticks = [];
  for (let i = first; i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return ticks;
}

// The coarsest of some sets of leading digits that gives four ticks or more.
function logTicks(low, high, count) {
  const sets = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9]];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  let ticks = [];
  for (const digits of sets) {
    ticks = [];
    for (let power = first; power <= last; power++) ticks.push(...digits.map((digit) => digit * 10 ** power));
    ticks = ticks.filter((v) => v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9));
    if (ticks.length >= 4) break;
  }
  const every = Math.ceil(ticks.length / (2 * count));
  return ticks.filter((_, i) => i % every === 0);
}

// Room around the values; logarithmic only if all of them are above zero.
function spread(values, kind) {
  const known = values.filter((v) => v !== null && Number.isFinite(v));
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (kind === "log") {
    const room = Math.max((high / low) ** 0.06, 1.05);
    return [low / room, high * room];
  }
  const room = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
  return [low - room, high + room];
}

function written(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  const text = size && (size < 1e-4 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  return text.replace("-", "−");
}
