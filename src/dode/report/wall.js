// The wall: rows of pictures, the same noise in a column.
function drawWall(data, state, choose) {
  const host = document.getElementById("rows");
  host.className = data.wall.width <= 64 ? "small" : "";
  const blocks = [wallRow("exact", null, "the model's ODE, solved", data.wall.exact, data, state, choose)];
  data.methods.forEach((method, i) => {
    if (!state.shown.has(i)) return;
    const same = (one) => one.method === i && one.nfe === state.nfe;
    const run = data.wall.runs.find(same);
    const row = data.rows.find(same);
    const said = row ? `RMS ${written(row.rms)}, median ${written(row.median)}` : `not measured at ${state.nfe}`;
    blocks.push(wallRow(method.name, method, said, run ? run.pictures : [], data, state, choose));
  });
  host.replaceChildren(...blocks);
}

function wallRow(name, method, said, pictures, data, state, choose) {
  const row = document.createElement("div");
  row.className = method ? "run" : "run exact";
  row.dataset.run = name;
  const head = document.createElement("div");
  const title = document.createElement("h3");
  if (method) title.append(drawKey(keyFor(), method));
  title.append(name.replaceAll(":", ":\u200b").replaceAll("=", "=\u200b")); // where a long name may break
  const note = document.createElement("p");
  note.textContent = said;
  head.append(title, note);
  const strip = document.createElement("div");
  strip.className = "strip";
  strip.style.setProperty("--columns", data.wall.exact.length);
  strip.append(...pictures.map((src, i) => cell(src, i, name, method, data, state, choose)));
  row.append(head, strip);
  return row;
}

function cell(src, i, name, method, data, state, choose) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = i === state.sample ? "cell chosen" : "cell";
  button.setAttribute("aria-label", `${name}, noise ${i + 1}`);
  button.append(picture(src, ""));
  if (state.difference && method) {
    button.classList.add("apart");
    button.append(picture(data.wall.exact[i], "over"));
  }
  button.addEventListener("click", () => choose(i));
  return button;
}

function picture(src, kind) {
  const image = new Image();
  image.src = src;
  image.alt = "";
  image.className = kind;
  return image;
}
