// The page side of the explorer: gathers what hands do, asks for pictures, shows them. It knows no geometry.
const MOST_IN_FLIGHT = 2;      // requests on the way: while one picture travels, the next is drawn
const PATIENCE_MS = 4000;      // without an answer: say so
const LOST_MS = 15000;         // without an answer: ask anew
const QUIET_MS = 180;          // after the last turn of a wheel or press of a key: draw in full
const PATH_SECONDS_A_VIEW = 2; // pace of playing
const SLIDERS = [              // field, class, label, unit, step
  ["time", "time", "path", "", 0.01], ["yaw_deg", "yaw", "yaw", "°", 0.5], ["pitch_deg", "pitch", "pitch", "°", 0.5],
  ["closer", "closer", "closer", "", 0.01], ["shift_right", "shift-right", "shift right", "", 0.01],
  ["shift_up", "shift-up", "shift up", "", 0.01], ["opacity_from", "opacity", "opacity from", "", 0.01],
];
const SCALE_STEPS = 100;       // the scale slider is logarithmic; its last step cuts nothing

function element(tag, name, attributes = {}, parent = null) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  for (const [key, value] of Object.entries(attributes)) key === "text" ? (made.textContent = value) : made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

function slider(parent, name, label, attributes) {
  const row = element("label", "", {}, parent);
  element("span", "", { text: label }, row);
  const input = element("input", `pmgs-${name}`, { type: "range", "aria-label": label, ...attributes }, row);
  return { input, output: element("output", "", {}, row) };
}

function choice(parent, name, label) {
  const row = element("label", "", { text: label }, parent);
  return element("select", `pmgs-${name}`, { "aria-label": label }, row);
}

function button(parent, name, text, title) {
  return element("button", `pmgs-${name}`, { type: "button", text, title }, parent);
}

function build(el) {
  // Keys pressed in here are for the explorer, not for the notebook around it.
  const root = element("div", "pmgs-explorer", { "data-lm-suppress-shortcuts": "true" }, el);
  const choices = element("div", "pmgs-row", {}, root);
  const p = { root };
  for (const [name, label] of [["scene", "scene"], ["left", "left"], ["right", "right"], ["split", "two as"], ["mode", "show"]]) p[name] = choice(choices, name, label);
  p.stage = element("div", "pmgs-stage", {}, root);
  p.picture = element("img", "pmgs-picture", { tabindex: "0", draggable: "false", alt: "picture of the scene; arrow keys orbit, with shift they pan, plus and minus move closer and away, Home goes back" }, p.stage);
  p.picture.dataset.frames = "0";
  p.wipe = element("input", "pmgs-wipe", { type: "range", min: 0, max: 1, step: 0.002, "aria-label": "wipe between left and right" }, p.stage);
  p.names = element("div", "pmgs-names", {}, p.stage);
  p.psnr = element("div", "pmgs-psnr", { role: "status", "aria-live": "polite" }, root);
  p.legend = element("div", "pmgs-legend", {}, root);
  p.error = element("div", "pmgs-error", { role: "alert" }, root);
  const buttons = element("div", "pmgs-row", {}, root);
  p.play = button(buttons, "play", "play the input path", "along the path through the input cameras, to and fro");
  p.snap = button(buttons, "snap", "go to the held-out view", "to the nearest held-out camera: the pixels that the metric measures");
  p.next = button(buttons, "next", "next held-out view", "to the held-out camera after it");
  p.home = button(buttons, "home", "back to the path", "undo all turning and moving");
  const grid = element("div", "pmgs-sliders", {}, root);
  p.sliders = Object.fromEntries(SLIDERS.map(([field, name, label, , step]) => [field, slider(grid, name, label, { step })]));
  p.scale = slider(grid, "scale", "scale up to", { min: 0, max: SCALE_STEPS, step: 1 });
  p.note = element("div", "pmgs-note", {}, root);
  return p;
}

// Requests with back pressure: what hands do meanwhile is gathered and goes out in one message.
function pump(model, p, shown) {
  let number = 0, newest = 0, inFlight = 0, pending = null, askedAt = 0, gone = false;
  const trouble = (text) => { p.error.textContent = text; };
  const send = () => {
    if (gone || !pending || inFlight >= MOST_IN_FLIGHT) return;
    const message = { n: ++number, coarse: pending.coarse, changes: pending.changes };
    pending = null; inFlight += 1; askedAt = Date.now();
    try { model.send(message); } catch (error) { lost(); }
  };
  const go = () => { send(); p.root.dataset.waiting = inFlight + (pending ? 1 : 0); };
  const merged = (changes, change) => {
    const last = changes.at(-1);
    if (change.kind === "set") return [...changes.filter((c) => c.kind !== "set" || c.name !== change.name), change];
    if (last?.kind === change.kind && "dx" in change) { last.dx += change.dx; last.dy += change.dy; return changes; }
    if (last?.kind === change.kind && "dz" in change) { last.dz += change.dz; return changes; }
    return [...changes, change];
  };
  const ask = (change, coarse) => {
    pending ??= { changes: [], coarse };
    pending.coarse = coarse;
    if (change) pending.changes = merged(pending.changes, change);
    go();
  };
  const lost = () => { gone = true; inFlight = 0; p.root.dataset.kernel = "gone"; trouble("The kernel of this explorer is gone. Run its cell again for a new one."); };
  const answered = () => { inFlight = Math.max(inFlight - 1, 0); go(); };
  const receive = (reply, buffers) => {
    if (reply.changed) { ask(null, false); return; }
    if (reply.error) {
      trouble(reply.error);
      p.root.dataset.errors = Number(p.root.dataset.errors ?? 0) + 1;
      if (p.values) showValues(p, p.values, reply.n === number && !pending); // the kernel has given up what was asked for
      answered();
      return;
    }
    if (p.error.textContent) trouble("");
    if (reply.n < newest) { answered(); return; }
    newest = reply.n;
    // Controls that a hand has moved since are not put back to where this answer has them.
    shown(reply, buffers[0], answered, reply.n === number && !pending);
  };
  const timer = setInterval(() => {
    if (gone || inFlight === 0) return;
    const waited = Date.now() - askedAt;
    if (waited > PATIENCE_MS) trouble("Waiting for the kernel: it is busy, or gone. After a restart run this cell again.");
    if (waited > LOST_MS) { inFlight = 0; askedAt = Date.now(); go(); }
  }, 500);
  model.on("msg:custom", receive);
  model.on("comm_live_update", lost);
  return { ask, moving: () => inFlight > 0, stop: () => { clearInterval(timer); gone = true; model.off("msg:custom", receive); model.off("comm_live_update", lost); } };
}

function fill(select, values) {
  const wanted = values.join("\n");
  if (select.dataset.values === wanted) return;
  const kept = select.value;
  select.replaceChildren(...values.map((v) => element("option", "", { text: v === null ? "nothing" : v, value: v ?? "" })));
  select.dataset.values = wanted;
  select.value = kept;
}

function scaleOf(p, position) {
  const [low, high] = p.scales;
  return position >= SCALE_STEPS ? null : low * (high / low) ** (position / SCALE_STEPS);
}

function showControls(p, controls) {
  fill(p.scene, controls.scenes); fill(p.left, controls.subjects); fill(p.right, [null, ...controls.subjects]);
  fill(p.split, controls.splits); fill(p.mode, controls.modes);
  for (const [field, [low, high]] of Object.entries(controls.ranges)) {
    const input = field === "wipe" ? p.wipe : p.sliders[field].input;
    input.min = low; input.max = high; input.disabled = low === high;
  }
  p.scales = [Math.max(controls.scales[0], 1e-9), Math.max(controls.scales[1], 2e-9)];
  p.next.disabled = controls.targets < 2;
  p.play.disabled = controls.ranges.time[1] === 0;
  p.note.textContent = `${controls.note} Drag to orbit, with shift or the right button to pan, wheel to come closer; arrow keys, shift, + and − do the same.`;
  p.size = controls.size;
}

function showValues(p, values, latest) {
  const put = (input, value) => { if (latest && input !== p.held) input.value = value; };
  for (const name of ["scene", "left", "right", "mode", "split"]) put(p[name], values[name] ?? "");
  const two = values.right !== null;
  p.split.closest("label").hidden = !two;
  p.wipe.hidden = !(two && values.split === "wipe");
  p.names.replaceChildren(...(two ? [values.left, values.right] : []).map((text) => element("span", "", { text })));
  put(p.wipe, values.wipe);
  for (const [field, , , unit] of SLIDERS) {
    const { input, output } = p.sliders[field];
    put(input, values[field]);
    output.textContent = `${Number(values[field]).toFixed(field.endsWith("deg") ? 1 : 2).replace(/^-(?=0\.0+$)/, "")}${unit}`;
  }
  if (p.scales) {
    const share = values.scale_to === null ? 1 : Math.log(values.scale_to / p.scales[0]) / Math.log(p.scales[1] / p.scales[0]);
    put(p.scale.input, Math.round(share * SCALE_STEPS));
  }
  p.scale.output.textContent = values.scale_to === null ? "all" : Number(values.scale_to).toPrecision(3);
  p.values = values;
}

function showFacts(p, frame) {
  const data = p.picture.dataset;
  Object.assign(data, { coarse: frame.coarse, target: frame.target, atTarget: frame.at_target, mime: frame.mime });
  data.frames = Number(data.frames) + 1;
  if (!frame.coarse) {
    data.full = Number(data.full ?? 0) + 1;
    const scores = Object.entries(frame.psnr).map(([name, value]) => `${name} ${value === "infinite" ? "∞" : value.toFixed(2)} dB`);
    const cut = Object.values(frame.kept).some(([left, all]) => left < all);
    const kept = Object.entries(frame.kept).map(([name, [left, all]]) => `${left.toLocaleString("en")} of ${all.toLocaleString("en")}`);
    p.psnr.textContent = `PSNR at held-out view ${frame.target} ${frame.at_target ? "(this picture)" : "(the nearest)"}: ${scores.join(" | ")}${cut ? `, of ${kept.join(" | ")} Gaussians` : ""}`;
    data.psnr = JSON.stringify(frame.psnr);
  }
  p.legend.replaceChildren();
  if (frame.legend) {
    const [low, middle, high] = frame.legend.ticks;
    element("span", "", { text: frame.legend.label }, p.legend);
    element("span", "", { text: low }, p.legend);
    element("span", "pmgs-ramp", { role: "img", style: `background: linear-gradient(to right, ${frame.legend.colors.join(",")})`, "aria-label": `colours from ${low} over ${middle} to ${high}` }, p.legend);
    element("span", "", { text: high }, p.legend);
  }
  if (frame.missing.length) element("span", "", { text: frame.missing.join("; ") }, p.legend);
}

function hands(p, requests, signal) {
  const on = (target, name, handler, options = {}) => target.addEventListener(name, handler, { signal, ...options });
  let drag = null, quiet = null;
  const settle = () => { clearTimeout(quiet); quiet = setTimeout(() => requests.ask(null, false), QUIET_MS); };
  on(p.picture, "pointerdown", (e) => { p.picture.setPointerCapture(e.pointerId); drag = { x: e.clientX, y: e.clientY, kind: e.shiftKey || e.button === 2 ? "pan" : "orbit" }; });
  on(p.picture, "pointermove", (e) => {
    if (!drag) return;
    const width = p.picture.clientWidth, [dx, dy] = [(e.clientX - drag.x) / width, (e.clientY - drag.y) / width];
    drag.x = e.clientX; drag.y = e.clientY;
    if (dx || dy) requests.ask({ kind: drag.kind, dx, dy }, true);
  });
  for (const name of ["pointerup", "pointercancel"]) on(p.picture, name, () => { if (drag) requests.ask(null, false); drag = null; });
  on(p.picture, "contextmenu", (e) => e.preventDefault());
  on(p.picture, "wheel", (e) => { e.preventDefault(); requests.ask({ kind: "dolly", dz: -e.deltaY * 0.001 }, true); settle(); }, { passive: false });
  on(p.picture, "keydown", (e) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key], near = { "+": 1, "=": 1, "-": -1 }[e.key];
    if (!step && !near && e.key !== "Home") return;
    e.preventDefault(); e.stopPropagation();
    if (step) requests.ask({ kind: e.shiftKey ? "pan" : "orbit", dx: 0.025 * step[0], dy: 0.025 * step[1] }, true);
    else requests.ask(near ? { kind: "dolly", dz: 0.1 * near } : { kind: "home" }, true);
    settle();
  });
  const slide = (input, change) => {
    on(input, "pointerdown", () => { p.held = input; });
    on(input, "pointerup", () => { p.held = null; });
    on(input, "input", () => requests.ask(change(), true));
    on(input, "change", () => { p.held = null; requests.ask(change(), false); });
  };
  const set = (name, value) => ({ kind: "set", name, value });
  for (const [field] of SLIDERS) slide(p.sliders[field].input, () => set(field, Number(p.sliders[field].input.value)));
  slide(p.wipe, () => set("wipe", Number(p.wipe.value)));
  slide(p.scale.input, () => set("scale_to", scaleOf(p, Number(p.scale.input.value))));
  for (const name of ["scene", "left", "right", "split", "mode"]) on(p[name], "change", () => requests.ask(set(name, p[name].value || null), false));
  on(p.snap, "click", () => requests.ask({ kind: "snap" }, false));
  on(p.next, "click", () => requests.ask({ kind: "snap", step: 1 }, false));
  on(p.home, "click", () => { const at = p.values?.time ?? 0; requests.ask({ kind: "home" }, false); requests.ask({ kind: "set", name: "time", value: at }, false); });
}

function playing(p, requests, signal) {
  let started = null;
  const end = () => Number(p.sliders.time.input.max);
  const place = (now) => { const t = ((now - started) / 1000 / PATH_SECONDS_A_VIEW) % (2 * end()); return t > end() ? 2 * end() - t : t; };
  const stop = () => { started = null; p.play.setAttribute("aria-pressed", "false"); p.play.textContent = "play the input path"; requests.ask(null, false); };
  p.play.addEventListener("click", () => {
    if (started !== null) return stop();
    started = performance.now() - 1000 * PATH_SECONDS_A_VIEW * Number(p.values?.time ?? 0);
    p.play.setAttribute("aria-pressed", "true"); p.play.textContent = "stop";
    requests.ask({ kind: "set", name: "time", value: place(performance.now()) }, true);
  }, { signal });
  return () => { if (started !== null) requests.ask({ kind: "set", name: "time", value: place(performance.now()) }, true); };
}

function render({ model, el }) {
  const p = build(el), ends = new AbortController();
  let address = null, finish = null, step = () => {};
  const requests = pump(model, p, (reply, bytes, done, latest) => {
    if (reply.controls) showControls(p, reply.controls);
    showValues(p, reply.values, latest);
    if (p.size) p.picture.style.width = `${(p.size[1] < 320 ? 2 : 1) * p.size[1] * (reply.values.right !== null && reply.values.split === "side by side" ? 2 : 1)}px`;
    finish?.(false); // a picture that a newer one overtakes never loads, but its request is answered
    const next = URL.createObjectURL(new Blob([bytes], { type: reply.frame.mime }));
    finish = (seen) => { finish = null; URL.revokeObjectURL(seen ? address : next); if (seen) address = next; done(); step(); };
    p.picture.onload = () => { showFacts(p, reply.frame); finish?.(true); };
    p.picture.onerror = () => { p.error.textContent = "The browser could not read a picture."; finish?.(false); };
    p.picture.src = next;
  });
  hands(p, requests, ends.signal);
  step = playing(p, requests, ends.signal);
  requests.ask(null, false);
  return () => { ends.abort(); requests.stop(); if (address) URL.revokeObjectURL(address); };
}

export default { render };
