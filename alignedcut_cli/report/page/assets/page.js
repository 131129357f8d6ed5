// The live part of a report: pick a patch, and see every other patch by how like it is.
// An ES module without imports: `render({ model, el })` fills an element from the model that the page carries.

const CIVIDIS = "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838";
const LUT = table(CIVIDIS);
const NONE = [128, 128, 128];
const SHOWN = 24;

export async function render({ model, el }) {
  if (!model.lenses.length) return null;
  const app = new Page(model, el);
  await app.open(0);
  return app;
}

// ---- small helpers

function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  put(made, attributes);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function s(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  put(made, attributes);
  if (text !== null) made.textContent = text;
  return made;
}

function put(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null) element.setAttribute(key, value);
  }
}

function table(hex) {
  const stops = hex.match(/.{6}/g).map((one) => [0, 2, 4].map((at) => parseInt(one.slice(at, at + 2), 16)));
  const found = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    for (let k = 0; k < 3; k++) found[3 * i + k] = stops[low][k] + (at - low) * (stops[low + 1][k] - stops[low][k]);
  }
  return found;
}

async function unpack(text) {
  const plain = atob(text);
  const bytes = new Uint8Array(plain.length);
  for (let i = 0; i < plain.length; i++) bytes[i] = plain.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const fixed = (value) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(2).replace("-", "−"));
const css = (rgb) => `rgb(${rgb[0]}, ${rgb[1]}, ${rgb[2]})`;

// ---- the numbers of a lens

// A code: int8 columns, one after another, and the spaces in which its rows are compared.
export class Code {
  constructor(spec, lens, data, lengths) {
    Object.assign(this, { spec, lens, data: new Int8Array(data), nodes: lens.nodes, columns: spec.columns, norms: [] });
    this.lengths = lengths && Float32Array.from(new Uint8Array(lengths), (x) => Math.exp(spec.lengths.low + x * spec.lengths.step));
  }

  static async read(spec, lens) {
    return new Code(spec, lens, await unpack(spec.data), spec.lengths ? await unpack(spec.lengths.data) : null);
  }

  scale(graph, column) {
    return this.spec.scale[(this.spec.graphs > 1 ? graph : 0) * this.columns + column];
  }

  // the row of a node
  row(node, graph) {
    return Float64Array.from({ length: this.columns }, (_, c) => this.data[c * this.nodes + node] * this.scale(graph, c));
  }

  // M x for the metric of a space
  turned(row, space) {
    const metric = this.spec.spaces[space].metric;
    if (!metric) return row;
    const k = this.columns;
    return row.map((_, a) => row.reduce((sum, value, b) => sum + metric[a * k + b] * value, 0));
  }

  // sqrt(x M x) of every node
  lengthsIn(space) {
    if (this.norms[space]) return this.norms[space];
    const { nodes, columns, data, lens } = this;
    const metric = this.spec.spaces[space].metric;
    const found = new Float32Array(nodes);
    for (const slot of lens.slots) {
      const end = slot.start + slot.size;
      for (let a = 0; a < columns; a++) {
        for (let b = a; b < (metric ? columns : a + 1); b++) {
          const weight = (metric ? metric[a * columns + b] * (a === b ? 1 : 2) : 1) * this.scale(slot.graph, a) * this.scale(slot.graph, b);
          const [x, y] = [a * nodes, b * nodes];
          for (let i = slot.start; i < end; i++) found[i] += weight * data[x + i] * data[y + i];
        }
      }
    }
    for (let i = 0; i < nodes; i++) found[i] = Math.sqrt(Math.max(found[i], 1e-30));
    return (this.norms[space] = found);
  }

  // cosine of every node with the query of its slot: a node for each slot
  cosines(queries, space) {
    const { nodes, columns, data, lens } = this;
    const norms = this.lengthsIn(space);
    const found = new Float32Array(nodes);
    lens.slots.forEach((slot, number) => {
      const query = queries[number];
      const turned = this.turned(this.row(query.node, query.graph), space);
      const end = slot.start + slot.size;
      for (let c = 0; c < columns; c++) {
        const weight = (turned[c] * this.scale(slot.graph, c)) / norms[query.node];
        const at = c * nodes;
        for (let i = slot.start; i < end; i++) found[i] += weight * data[at + i];
      }
      for (let i = slot.start; i < end; i++) found[i] /= norms[i];
    });
    return found;
  }

  // predicted activation of each area, in units of the responses
  areas(node) {
    const { weights, names } = this.spec.areas;
    const row = this.row(node, 0);
    return names.map((_, r) => this.lengths[node] * row.reduce((sum, value, k) => sum + value * weights[k * names.length + r], 0));
  }
}

class Lens {
  constructor(spec, images) {
    Object.assign(this, spec);
    this.images = images.length;
    for (const slot of this.slots) {
      slot.cells = slot.rows * slot.cols;
      slot.size = slot.cells * this.images;
      slot.title = `${slot.model} · ${slot.tap}`;
    }
    this.models = [...new Set(this.slots.map((slot) => slot.title))].map((title) => ({
      title, slots: this.slots.flatMap((slot, number) => (slot.title === title ? [number] : [])),
    }));
    this.depth = Math.max(...this.models.map((one) => one.slots.length));
    this.read = new Map();
  }

  async values(spec, make) {
    if (!this.read.has(spec)) this.read.set(spec, await make(spec));
    return this.read.get(spec);
  }

  code(number) {
    return this.values(this.codes[number], (spec) => Code.read(spec, this));
  }

  async painted(view) {
    return this.values(view, async (spec) => {
      const bytes = await unpack(spec.data);
      return spec.kind === "labels" ? new Int16Array(bytes) : new Uint8Array(bytes);
    });
  }

  async places(map) {
    return this.values(map, async (spec) => {
      const whole = new Uint16Array(await unpack(spec.data));
      const axis = (k) => Float32Array.from(whole.subarray(k * this.nodes, (k + 1) * this.nodes), (x) => x / 65534);
      return [axis(0), axis(1)];
    });
  }

  // the slot of each model at a place of the layer slider
  slotsAt(place) {
    return this.models.map(({ slots }) => slots[Math.round((place / Math.max(1, this.depth - 1)) * (slots.length - 1))]);
  }

  node({ slot, image, row, col }) {
    const one = this.slots[slot];
    return one.start + image * one.cells + row * one.cols + col;
  }

  place(node) {
    const slot = this.slots.findIndex((one) => node < one.start + one.size);
    const one = this.slots[slot];
    const image = Math.floor((node - one.start) / one.cells);
    const cell = (node - one.start) % one.cells;
    return { slot, image, row: Math.floor(cell / one.cols), col: cell % one.cols };
  }

  // the same place of the same photograph in another slot
  moved(pick, slot) {
    const [from, to] = [this.slots[pick.slot], this.slots[slot]];
    const row = Math.floor(((pick.row + 0.5) / from.rows) * to.rows);
    const col = Math.floor(((pick.col + 0.5) / from.cols) * to.cols);
    return { slot, image: pick.image, row, col };
  }

  // the query of each slot: the picked node in the slots of its graph, elsewhere the same place there
  queries(pick, shared) {
    const own = this.slots[pick.slot];
    return this.slots.map((slot, number) => {
      const at = shared || slot.graph === own.graph ? pick : this.moved(pick, number);
      return { node: this.node(at), graph: this.slots[at.slot].graph };
    });
  }
}

// ---- the page

class Page {
  constructor(model, el) {
    Object.assign(this, { model, el, frame: 0, photos: [] });
    this.state = { code: 0, space: 0, view: "similarity", layer: 0, threshold: 0.5, photo: 0.45, pinned: false, brush: null };
    this.photos = model.images.map((image) => {
      const photo = new Image();
      if (image.thumb) photo.src = image.thumb;
      return photo;
    });
  }

  async open(number) {
    const lens = new Lens(this.model.lenses[number], this.model.images);
    const layer = Math.ceil((lens.depth - 1) * 0.6);
    const read = await this.read(lens, { code: 0, view: "similarity" });
    await Promise.all(this.photos.map((photo) => photo.src && photo.decode().catch(() => null)));
    Object.assign(this.state, { lens: number, layer, brush: null, pinned: false, code: 0, space: 0, view: "similarity" });
    Object.assign(this, read, { lens, chart: null, bars: null, legendKey: null, baseKey: null, slots: lens.slotsAt(layer) });
    const { rows, cols } = lens.slots[this.slots[0]];
    this.pick = { slot: this.slots[0], image: 0, row: Math.floor(rows / 2), col: Math.floor(cols / 2) };
    this.build();
    this.update(true);
  }

  // what a state needs of a lens, unpacked
  async read(lens, { code, view }) {
    const at = lens.codes.findIndex((one) => one.areas);
    const colours = lens.views.find((one) => one.kind === "colours");
    return {
      code: await lens.code(code),
      meaning: at >= 0 ? await lens.code(at) : null,
      rgb: colours ? await lens.painted(colours) : null,
      map: lens.maps.length ? await lens.places(lens.maps[0]) : null,
      labels: view === "similarity" ? null : await lens.painted(lens.views[view]),
    };
  }

  // go over to another view or space, once what it needs is there
  change(next) {
    return (this.changing = this.changed(next));
  }

  async changed(next) {
    const { lens } = this;
    const wanted = (this.wanted = { ...this.state, ...next });
    const read = await this.read(lens, wanted);
    if (this.wanted !== wanted || this.lens !== lens) return;
    Object.assign(this.state, next);
    Object.assign(this, read);
    this.update(true);
  }

  // -- building

  build() {
    const { lens, model } = this;
    this.live = h("p", { class: "live", "aria-live": "polite" });
    this.side = h("aside", { "aria-label": "The picked patch" });
    this.grid = h("div", {
      class: "grid", tabindex: "0", role: "application", "aria-roledescription": "patch picker",
      "aria-label": "Photographs by model. Arrow keys move the picked patch, Page Up and Page Down go to other photographs, "
        + "plus and minus walk the layers, Enter pins, Escape frees.",
      onkeydown: (event) => this.key(event),
    });
    this.grid.style.setProperty("--columns", lens.models.length);
    this.cells = model.images.map((image, number) => this.imageRow(image, number));
    this.strip = h("div", { class: "strip", role: "group", "aria-label": "All layers of the picked photograph" });
    const left = h("div", { class: "left" }, this.toolbar(), this.legend = h("div", { class: "key" }), this.strip, this.heads(), this.grid);
    this.panels();
    this.el.replaceChildren(h("div", { class: "picker" }, left, this.side), this.live);
    this.watch();
  }

  heads() {
    this.titles = h("p", { class: "heads" });
    return this.titles;
  }

  imageRow(image, number) {
    const cells = this.lens.models.map((one, column) => {
      const canvas = h("canvas", { "aria-hidden": "true" });
      const photo = image.thumb ? h("img", { src: image.thumb, alt: "", draggable: "false" }) : null;
      const cell = h("div", { class: "cell" }, photo, canvas);
      cell.style.setProperty("aspect-ratio", `${image.width} / ${image.height}`);
      const at = (event) => this.under(event, cell, number, column);
      cell.addEventListener("pointermove", (event) => event.pointerType === "mouse" && !this.state.pinned && this.move(at(event)));
      cell.addEventListener("click", (event) => this.click(at(event)));
      return { cell, canvas, column, image: number, visible: true };
    });
    const name = h("div", { class: "name" }, image.name);
    this.grid.append(h("div", { class: "photo" }, name, h("div", { class: "row" }, ...cells.map((one) => one.cell))));
    return cells;
  }

  watch() {
    this.observer?.disconnect();
    const all = this.cells.flat();
    const of = new Map(all.map((one) => [one.cell, one]));
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const one = of.get(entry.target);
        one.visible = entry.isIntersecting;
        if (one.visible && one.due) this.paint(one);
      }
    }, { rootMargin: "300px" });
    all.forEach((one) => this.observer.observe(one.cell));
  }

  toolbar() {
    const { lens, model, state } = this;
    const choose = (label, options, value, change) => {
      const list = h("select", { "aria-label": label, onchange: (event) => change(Number(event.target.value)) },
        ...options.map((name, number) => h("option", { value: number, selected: number === value }, name)));
      return h("label", {}, h("span", {}, label), list);
    };
    const slide = (label, key, max, step, change) => {
      const told = h("output", {}, "");
      const input = h("input", { type: "range", min: 0, max, step, value: state[key], "data-of": key, "aria-label": label, oninput: (event) => {
        state[key] = Number(event.target.value);
        change();
      } });
      this[`${key}Told`] = told;
      return h("label", { class: "slide" }, h("span", {}, label, " ", told), input);
    };
    const spaces = lens.codes.flatMap((code, c) => code.spaces.map((space, k) => ({ name: space.name, c, k })));
    const views = [{ name: "Similarity to the picked patch", view: "similarity" }, ...lens.views.map((view, k) => ({ name: view.title, view: k }))];
    const bar = h("div", { class: "bar", role: "group", "aria-label": "What is shown" });
    if (model.lenses.length > 1) bar.append(choose("Nodes of", model.lenses.map((one) => one.name), state.lens, (n) => (this.changing = this.open(n))));
    bar.append(choose("Show", views.map((one) => one.name), 0, (n) => this.change({ view: views[n].view })));
    bar.append(choose("Compared in", spaces.map((one) => one.name), 0, (n) => this.change({ code: spaces[n].c, space: spaces[n].k })));
    bar.append(slide("Layer", "layer", lens.depth - 1, 1, () => this.walk()));
    bar.append(slide("Threshold", "threshold", 1, 0.01, () => this.update()));
    bar.append(slide("Photograph", "photo", 1, 0.05, () => this.update()));
    this.free = h("button", { type: "button", onclick: () => this.pin(false), hidden: true }, "Unpin");
    bar.append(this.free);
    return bar;
  }

  panels() {
    this.crop = h("canvas", { class: "crop", width: 96, height: 96, "aria-hidden": "true" });
    this.about = h("p", { class: "about" });
    this.nearest = h("ol", { class: "nearest" });
    this.nearestTable = h("tbody");
    const folded = (title, head, body) => h("details", { class: "twin" }, h("summary", {}, title),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {}, h("thead", {}, head), body)));
    const twin = (title, head, body) => folded(title, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name))), body);
    this.side.append(h("section", {}, h("h3", {}, "Picked patch"), h("div", { class: "picked" }, this.crop, this.about)),
      h("section", {}, h("h3", {}, "Nearest patches"), this.nearest,
        twin("Table: nearest patches", ["similarity", "photograph", "model", "layer", "row", "column"], this.nearestTable)));
    if (this.lens.maps.length) {
      this.chart = h("canvas", { class: "map", tabindex: "0", role: "application",
        "aria-label": "Map of all patches. Drag to brush a region. Keys: B brushes around the picked patch, arrows move the brush, plus and minus resize it, Escape clears it." });
      this.brushed = h("p", { class: "note", "aria-live": "polite" });
      this.pathTable = h("tbody");
      this.clear = h("button", { type: "button", hidden: true, onclick: () => this.brush(null) }, "Clear the brush");
      this.side.append(h("section", {}, h("h3", {}, "Map and path over layers"), this.chart, this.brushed, this.clear,
        h("p", { class: "note" }, this.lens.maps[0].title),
        twin("Table: path of the picked patch", ["model", "layer", "x", "y"], this.pathTable)));
      this.brushing();
    }
    if (this.lens.codes.some((one) => one.areas)) {
      this.bars = h("div", { class: "bars" });
      this.barTable = h("tbody");
      this.barHead = h("tr");
      const names = (this.lens.groups?.groups ?? []).slice(2);
      const chosen = h("select", { onchange: (event) => {
        this.state.group = Number(event.target.value);
        this.update();
      } }, ...["none", ...names].map((name, k) => h("option", { value: k ? k + 1 : 0 }, name)));
      this.state.group = 0;
      const beside = names.length ? h("label", { class: "beside" }, "Beside figure and ground: ", chosen) : null;
      this.side.append(h("section", {}, h("h3", {}, "Predicted brain activation"), ...[beside].filter(Boolean), this.bars,
        folded("Table: activation by area", this.barHead, this.barTable)));
    }
    this.valueTable = h("tbody");
    this.values = twin("Table: values of this photograph in this layer", ["row", "values by column"], this.valueTable);
    this.values.addEventListener("toggle", () => this.listValues());
    this.side.append(h("section", {}, this.values));
  }

  // -- events

  under(event, cell, image, column) {
    const slot = this.lens.slotsAt(this.state.layer)[column];
    const { rows, cols } = this.lens.slots[slot];
    const box = cell.getBoundingClientRect();
    const row = clamp(Math.floor(((event.clientY - box.top) / box.height) * rows), 0, rows - 1);
    const col = clamp(Math.floor(((event.clientX - box.left) / box.width) * cols), 0, cols - 1);
    return { slot, image, row, col };
  }

  same(pick) {
    return ["slot", "image", "row", "col"].every((key) => pick[key] === this.pick[key]);
  }

  move(pick) {
    if (this.same(pick)) return;
    this.pick = pick;
    this.update();
  }

  click(pick) {
    const again = this.state.pinned && this.same(pick);
    this.pick = pick;
    this.pin(!again);
  }

  pin(on) {
    this.state.pinned = on;
    this.free.hidden = !on;
    this.update(true);
  }

  walk() {
    const { lens, state } = this;
    const column = lens.models.findIndex((one) => one.slots.includes(this.pick.slot));
    this.pick = lens.moved(this.pick, lens.slotsAt(state.layer)[Math.max(0, column)]);
    this.update(true);
  }

  key(event) {
    const { lens, state } = this;
    const { rows, cols } = lens.slots[this.pick.slot];
    const column = lens.models.findIndex((one) => one.slots.includes(this.pick.slot));
    const pick = { ...this.pick };
    const steps = { ArrowUp: ["row", -1], ArrowDown: ["row", 1], ArrowLeft: ["col", -1], ArrowRight: ["col", 1], PageUp: ["image", -1], PageDown: ["image", 1] };
    if (event.key in steps) {
      const [key, step] = steps[event.key];
      pick[key] += step;
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return this.pin(!state.pinned);
    } else if (event.key === "Escape") return this.pin(false);
    else if (event.key === "+" || event.key === "-") return this.toLayer(state.layer + (event.key === "+" ? 1 : -1));
    else return;
    event.preventDefault();
    const slots = lens.slotsAt(state.layer);
    if (pick.col < 0 || pick.col >= cols) {
      const next = column + (pick.col < 0 ? -1 : 1);
      if (next < 0 || next >= slots.length) return;
      const moved = lens.moved(this.pick, slots[next]);
      Object.assign(pick, moved, { col: pick.col < 0 ? lens.slots[slots[next]].cols - 1 : 0 });
    }
    if (pick.row < 0) Object.assign(pick, { image: pick.image - 1, row: rows - 1 });
    if (pick.row >= rows) Object.assign(pick, { image: pick.image + 1, row: 0 });
    if (pick.image < 0 || pick.image >= this.model.images.length) return;
    this.pick = pick;
    this.cells[pick.image][0].cell.scrollIntoView({ block: "nearest" });
    this.update(true);
  }

  toLayer(place) {
    this.state.layer = clamp(place, 0, this.lens.depth - 1);
    this.el.querySelector('[data-of="layer"]').value = this.state.layer;
    this.walk();
  }

  goto(pick) {
    const { lens } = this;
    const model = lens.models.find((one) => one.slots.includes(pick.slot));
    const depth = model.slots.indexOf(pick.slot) / Math.max(1, model.slots.length - 1);
    this.state.layer = Math.round(depth * (lens.depth - 1));
    this.el.querySelector('[data-of="layer"]').value = this.state.layer;
    this.pick = pick;
    this.cells[pick.image][0].cell.scrollIntoView({ block: "nearest" });
    this.pin(true);
  }

  // -- drawing

  update(speak = false) {
    this.speak = this.speak || speak;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { lens, state, code } = this;
    const shared = lens.joint || code.spec.shared;
    this.cosines = code.cosines(lens.queries(this.pick, shared), state.space);
    const slots = lens.slotsAt(state.layer);
    this.slots = slots;
    const columns = slots.map((slot, k) => `${lens.models[k].title}, layer ${lens.slots[slot].layer}`);
    this.titles.textContent = `${columns.length > 1 ? "Columns, from left to right: " : ""}${columns.join(" | ")}`;
    this.layerTold.textContent = slots.map((slot) => lens.slots[slot].layer).join(" / ");
    this.thresholdTold.textContent = fixed(state.threshold);
    this.photoTold.textContent = `${Math.round(100 * state.photo)} %`;
    for (const one of this.cells.flat()) {
      if (one.visible) this.paint(one);
      else one.due = true;
    }
    this.drawStrip();
    this.drawPicked();
    this.drawLegend();
    if (this.bars) this.drawBars();
    if (this.chart) this.drawMap();
    this.listValues();
    if (this.speak) this.tell();
    this.speak = false;
  }

  // colour and opacity of a node in the present view
  shade(node, out, at) {
    const { state, lens } = this;
    const veiled = state.brush && !state.brush.inside[node];
    let rgb = NONE;
    let alpha = 1 - state.photo;
    if (state.view === "similarity") {
      const cosine = this.cosines[node];
      if (cosine < state.threshold) [rgb, alpha] = [[24, 24, 28], 0.82];
      else {
        const k = 3 * Math.round(clamp((cosine - state.threshold) / Math.max(0.01, 1 - state.threshold), 0, 1) * 255);
        rgb = [LUT[k], LUT[k + 1], LUT[k + 2]];
      }
    } else {
      const view = lens.views[state.view];
      if (view.kind === "colours") rgb = [0, 1, 2].map((k) => this.labels[k * lens.nodes + node]);
      else if (this.labels[node] >= 0) rgb = view.palette[this.labels[node]];
      else alpha = 0;
    }
    if (veiled) [rgb, alpha] = [[24, 24, 28], 0.88];
    out[at] = rgb[0];
    out[at + 1] = rgb[1];
    out[at + 2] = rgb[2];
    out[at + 3] = 255 * alpha;
  }

  fill(canvas, slot, image) {
    const { rows, cols, cells, start } = this.lens.slots[slot];
    if (canvas.width !== cols || canvas.height !== rows) Object.assign(canvas, { width: cols, height: rows });
    const pen = canvas.getContext("2d");
    const pixels = pen.createImageData(cols, rows);
    for (let p = 0; p < cells; p++) this.shade(start + image * cells + p, pixels.data, 4 * p);
    pen.putImageData(pixels, 0, 0);
  }

  paint(one) {
    const slot = this.slots[one.column];
    one.due = false;
    this.fill(one.canvas, slot, one.image);
    const mine = this.pick.image === one.image;
    if (mine && !one.mark) one.cell.append((one.mark = h("div", { class: "mark" })));
    if (!mine && one.mark) {
      one.mark.remove();
      one.mark = null;
    }
    if (!mine) return;
    const at = this.lens.moved(this.pick, slot);
    const { rows, cols } = this.lens.slots[slot];
    const own = this.lens.models[one.column].slots.includes(this.pick.slot);
    one.mark.className = `mark${own ? " own" : ""}${this.state.pinned ? " pinned" : ""}`;
    Object.assign(one.mark.style, { left: `${(100 * at.col) / cols}%`, top: `${(100 * at.row) / rows}%`, width: `${100 / cols}%`, height: `${100 / rows}%` });
  }

  drawStrip() {
    const { lens, pick, model } = this;
    if (this.stripOf !== lens) {
      this.stripOf = lens;
      this.tiles = [];
      this.strip.replaceChildren(...lens.models.map((one) => h("div", { class: "layers" }, h("span", { class: "name" }, one.title),
        ...one.slots.map((slot) => {
          const canvas = h("canvas");
          const photo = h("img", { alt: "" });
          const button = h("button", { type: "button", onclick: () => this.goto(lens.moved(this.pick, slot)) },
            h("span", { class: "tile" }, photo, canvas), h("span", {}, `L${lens.slots[slot].layer}`));
            button.setAttribute("aria-label", `L${lens.slots[slot].layer}, ${one.title}`);
          this.tiles.push({ slot, canvas, button, photo });
          return button;
        }))));
    }
    for (const { slot, canvas, button, photo } of this.tiles) {
      const image = model.images[pick.image];
      if (image.thumb && photo.src !== image.thumb) photo.src = image.thumb;
      photo.hidden = !image.thumb;
      this.fill(canvas, slot, pick.image);
      button.setAttribute("aria-pressed", this.slots.includes(slot));
    }
  }

  cropOf(canvas, pick, around = 1) {
    const { rows, cols } = this.lens.slots[pick.slot];
    const photo = this.photos[pick.image];
    const pen = canvas.getContext("2d");
    const side = canvas.width;
    pen.fillStyle = "#888";
    pen.fillRect(0, 0, side, side);
    const span = 2 * around + 1;
    if (photo.naturalWidth) {
      const [w, t] = [photo.naturalWidth / cols, photo.naturalHeight / rows];
      pen.drawImage(photo, (pick.col - around) * w, (pick.row - around) * t, span * w, span * t, 0, 0, side, side);
    }
    pen.strokeStyle = "#fff";
    pen.lineWidth = 2;
    pen.strokeRect((side * around) / span, (side * around) / span, side / span, side / span);
  }

  described(pick) {
    const { title, layer, rows, cols } = this.lens.slots[pick.slot];
    return `${this.model.images[pick.image].name}, ${title}, layer ${layer}, row ${pick.row + 1} of ${rows}, column ${pick.col + 1} of ${cols}`;
  }

  // the most similar patches: at most three a photograph, none of the picked place itself
  found() {
    const { lens, cosines, pick } = this;
    const own = new Set(lens.slots.map((_, slot) => lens.node(lens.moved(pick, slot))));
    const best = this.model.images.map(() => []);
    for (const { start, size, cells } of lens.slots) {
      for (let i = start; i < start + size; i++) {
        const mine = best[Math.floor((i - start) / cells)];
        if ((mine.length === 3 && cosines[i] <= cosines[mine[2]]) || own.has(i)) continue;
        if (mine.length === 3) mine.pop();
        mine.push(i);
        mine.sort((one, other) => cosines[other] - cosines[one]);
      }
    }
    return best.flat().sort((one, other) => cosines[other] - cosines[one]).slice(0, SHOWN);
  }

  drawPicked() {
    const { lens, cosines, state, pick } = this;
    this.cropOf(this.crop, pick);
    const node = lens.node(pick);
    const lines = [this.described(pick), state.pinned ? "pinned" : "Enter or a click pins it"];
    if (this.rgb) lines.push(`colour ${[0, 1, 2].map((k) => this.rgb[k * lens.nodes + node]).join(", ")}`);
    for (const view of lens.views) {
      const values = view.kind === "labels" && lens.read.get(view);
      if (values) lines.push(`${view.title}: ${values[node] < 0 ? "none" : view.names[values[node]]}`);
    }
    this.about.replaceChildren(...lines.flatMap((line, n) => (n ? [h("br"), line] : [h("strong", {}, line)])));
    const found = this.found();
    this.nearestNodes = found;
    while (this.nearest.children.length < Math.min(12, found.length)) {
      const at = this.nearest.children.length;
      const button = h("button", { type: "button", onclick: () => this.goto(lens.place(this.nearestNodes[at])) }, h("canvas", { width: 48, height: 48 }), h("span"));
      this.nearest.append(h("li", {}, button));
    }
    [...this.nearest.children].forEach((item, k) => {
      item.hidden = k >= found.length;
      if (item.hidden) return;
      const at = lens.place(found[k]);
      this.cropOf(item.querySelector("canvas"), at);
      item.querySelector("span").textContent = fixed(cosines[found[k]]);
      item.firstChild.setAttribute("aria-label", `similarity ${fixed(cosines[found[k]])}: ${this.described(at)}`);
      item.firstChild.title = this.described(at);
    });
    this.nearestTable.replaceChildren(...found.map((one) => {
      const at = lens.place(one);
      const slot = lens.slots[at.slot];
      const cells = [fixed(cosines[one]), this.model.images[at.image].name, slot.title, slot.layer, at.row + 1, at.col + 1];
      return h("tr", {}, ...cells.map((text) => h("td", {}, String(text))));
    }));
  }

  tell() {
    const label = this.state.pinned ? "Pinned: " : "";
    const first = this.nearestNodes[0];
    const near = first === undefined ? "" : `; nearest: ${this.described(this.lens.place(first))}, similarity ${fixed(this.cosines[first])}`;
    this.live.textContent = label + this.described(this.pick) + near;
  }

  drawLegend() {
    const { state, lens } = this;
    const own = lens.joint ? "" : this.pick.slot;
    const key = [state.lens, state.view, state.layer, own, state.view === "similarity" ? `${state.threshold} ${state.space} ${state.code}` : ""].join("|");
    if (key === this.legendKey) return;
    this.legendKey = key;
    if (state.view === "similarity") {
      const stops = Array.from({ length: 9 }, (_, k) => css(LUT.subarray(3 * Math.round((255 * k) / 8))));
      const ramp = h("span", { class: "ramp" });
      ramp.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      const space = this.code.spec.spaces[state.space];
      this.legend.replaceChildren(`similarity ${fixed(state.threshold)} `, ramp, ` 1; darker: below. Cosines in ${space.name}`,
        ` are exact to ${fixed(space.cost)} here (largest error found).`, this.code.spec.shared || lens.joint ? "" : ` ${lens.about}`);
      return;
    }
    const view = lens.views[state.view];
    if (view.kind === "labels") {
      this.legend.replaceChildren(h("ul", { class: "swatches" }, ...view.names.map((name, k) => {
        const dot = h("span", { class: "dot" });
        dot.style.background = css(view.palette[k]);
        return h("li", {}, dot, name);
      })));
    } else {
      const { title, layer } = lens.slots[this.pick.slot];
      const where = lens.joint ? "" : ` (in ${title}, layer ${layer}: each layer has its own colours)`;
      const told = `What a colour stands for: its nearest patches in other photographs${where}.`;
      this.legend.replaceChildren(h("p", { class: "note" }, told), this.colourKey());
    }
  }

  // for some colours far from each other, the patches nearest to each
  colourKey() {
    const { lens, labels: rgb } = this;
    const n = lens.nodes;
    const pool = (lens.joint ? this.slots : [this.pick.slot]).flatMap((slot) => {
      const { start, size } = lens.slots[slot];
      const step = Math.max(1, Math.floor(size / 1500));
      return Array.from({ length: Math.floor(size / step) }, (_, k) => start + k * step);
    });
    const far = (a, b) => [0, 1, 2].reduce((sum, k) => sum + (rgb[k * n + a] - rgb[k * n + b]) ** 2, 0);
    const chosen = [pool[0]];
    const gap = pool.map((node) => far(node, pool[0]));
    while (chosen.length < Math.min(10, pool.length)) {
      const next = gap.indexOf(Math.max(...gap));
      chosen.push(pool[next]);
      pool.forEach((node, k) => (gap[k] = Math.min(gap[k], far(node, pool[next]))));
    }
    return h("ul", { class: "swatches colours" }, ...chosen.map((centre) => {
      const images = new Set();
      const near = [...pool].sort((a, b) => far(a, centre) - far(b, centre)).filter((node) => {
        const { image } = lens.place(node);
        return !images.has(image) && images.add(image);
      }).slice(0, 4);
      const dot = h("span", { class: "dot" });
      const value = [0, 1, 2].map((k) => rgb[k * n + centre]);
      dot.style.background = css(value);
      const crops = near.map((node) => {
        const canvas = h("canvas", { width: 40, height: 40 });
        this.cropOf(canvas, lens.place(node));
        return canvas;
      });
      const label = `colour ${value.join(", ")}: ${near.map((node) => this.described(lens.place(node))).join("; ")}`;
      return h("li", {}, h("button", { type: "button", title: label, "aria-label": label, onclick: () => this.goto(lens.place(centre)) }, dot, ...crops));
    }));
  }

  drawBars() {
    const { lens, pick, meaning } = this;
    const slot = lens.slots[pick.slot];
    const names = meaning.spec.areas.names;
    const own = meaning.areas(lens.node(pick));
    const known = lens.groups?.slots.find((one) => one.model === slot.model && one.tap === slot.tap && String(one.layer) === String(slot.layer));
    const groups = known ? lens.groups.groups.map((name, g) => ({ name, g, means: known.means[g] })).filter((one) => one.means) : [];
    const marked = groups.filter((one) => one.g < 2 || one.g === this.state.group);
    const columns = names.map((name, r) => ({ name, own: own[r], groups: groups.map((one) => one.means[lens.groups.areas.indexOf(name)]) }));
    const all = columns.flatMap((one) => [one.own, ...marked.map(({ means }) => means[lens.groups.areas.indexOf(one.name)])])
      .filter((value) => Number.isFinite(value));
    const top = Math.max(1e-6, ...all.map(Math.abs));
    const [line, left, wide] = [16, 84, 250];
    const x = (value) => left + wide / 2 + (value / top) * (wide / 2);
    const art = s("svg", { viewBox: `0 0 ${left + wide + 6} ${names.length * line + 8}`, role: "img", "aria-label": "Predicted activation of areas for the picked patch", class: "chart" });
    art.append(s("line", { x1: x(0), x2: x(0), y1: 0, y2: names.length * line, class: "zero" }));
    columns.forEach((one, r) => {
      const y = r * line;
      art.append(s("text", { x: left - 6, y: y + 12, "text-anchor": "end" }, one.name));
      art.append(s("rect", { x: Math.min(x(0), x(one.own)), width: Math.abs(x(one.own) - x(0)), y: y + 3, height: line - 6, class: one.own < 0 ? "minus" : "plus" }));
      marked.forEach(({ means }, k) => art.append(marker(k, x(means[lens.groups.areas.indexOf(one.name)] ?? 0), y + line / 2)));
    });
    const keys = ["picked patch: bar (orange above 0, blue below)", ...marked.map((one, k) => `${one.name}: ${["▲", "■", "◆"][k]}`)];
    if (!known && lens.groups) keys.push("figure and ground are not known in this layer");
    this.bars.replaceChildren(art, h("p", { class: "note" }, keys.join("; ")));
    this.barHead.replaceChildren(...["area", "picked patch", ...groups.map((one) => one.name)].map((name) => h("th", { scope: "col" }, name)));
    this.barTable.replaceChildren(...columns.map((one) => h("tr", {}, ...[one.name, fixed(one.own), ...one.groups.map((v) => fixed(v ?? null))].map((text) => h("td", {}, text)))));
  }

  // -- the map

  mapBase() {
    const { lens, map, chart } = this;
    const box = chart.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(200, Math.round(box.width * ratio));
    const key = `${width}|${this.state.lens}|${this.slots.join()}`;
    if (this.baseKey === key) return;
    this.baseKey = key;
    Object.assign(chart, { width, height: Math.round(width * 0.8) });
    this.base = h("canvas", { width: chart.width, height: chart.height });
    const pen = this.base.getContext("2d");
    const dot = Math.max(1.5, 1.4 * ratio);
    const draw = (from, to, step, alpha) => {
      pen.globalAlpha = alpha;
      for (let i = from; i < to; i += step) {
        if (Number.isNaN(map[0][i])) continue;
        pen.fillStyle = this.rgb ? css([0, 1, 2].map((k) => this.rgb[k * lens.nodes + i])) : "#7a8ca0";
        const [x, y] = this.onMap(i);
        pen.fillRect(x - dot / 2, y - dot / 2, dot, dot);
      }
    };
    draw(0, lens.nodes, Math.max(1, Math.floor(lens.nodes / 20000)), 0.25);
    for (const slot of this.slots) {
      const { start, size } = lens.slots[slot];
      draw(start, start + size, Math.max(1, Math.floor(size / 8000)), 0.9);
    }
  }

  onMap(node) {
    const { width, height } = this.chart;
    return [12 + this.map[0][node] * (width - 24), height - 12 - this.map[1][node] * (height - 24)];
  }

  drawMap() {
    const { lens, pick, state, chart } = this;
    this.mapBase();
    const pen = chart.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    pen.clearRect(0, 0, chart.width, chart.height);
    pen.drawImage(this.base, 0, 0);
    const model = lens.models.find((one) => one.slots.includes(pick.slot));
    const path = model.slots.map((slot) => lens.node(lens.moved(pick, slot)));
    const points = path.map((node) => this.onMap(node));
    for (const [width, colour] of [[5 * ratio, "#fff"], [2 * ratio, "#000"]]) {
      pen.beginPath();
      points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      Object.assign(pen, { lineWidth: width, strokeStyle: colour, lineJoin: "round" });
      pen.stroke();
    }
    points.forEach(([x, y], k) => {
      const here = model.slots[k] === pick.slot;
      pen.beginPath();
      pen.arc(x, y, (here ? 8 : 5.5) * ratio, 0, 7);
      Object.assign(pen, { fillStyle: here ? "#000" : "#fff", strokeStyle: "#000", lineWidth: 1.5 * ratio });
      pen.fill();
      pen.stroke();
      Object.assign(pen, { fillStyle: here ? "#fff" : "#000", font: `${9 * ratio}px sans-serif`, textAlign: "center", textBaseline: "middle" });
      pen.fillText(String(k), x, y);
    });
    if (state.brush) {
      const { x0, x1, y0, y1 } = state.brush;
      const [w, t] = [chart.width - 24, chart.height - 24];
      Object.assign(pen, { strokeStyle: "#d55e00", lineWidth: 2 * ratio });
      pen.strokeRect(12 + x0 * w, chart.height - 12 - y1 * t, (x1 - x0) * w, (y1 - y0) * t);
    }
    this.pathTable.replaceChildren(...path.map((node, k) => h("tr", {}, ...[model.title, lens.slots[model.slots[k]].layer, fixed(this.map[0][node]), fixed(this.map[1][node])].map((text) => h("td", {}, String(text))))));
  }

  brushing() {
    let from = null;
    const at = (event) => {
      const box = this.chart.getBoundingClientRect();
      const edge = (12 / this.chart.width) * box.width;
      return [clamp((event.clientX - box.left - edge) / (box.width - 2 * edge), 0, 1), clamp(1 - (event.clientY - box.top - edge) / (box.height - 2 * edge), 0, 1)];
    };
    this.chart.addEventListener("pointerdown", (event) => {
      from = at(event);
      this.chart.setPointerCapture(event.pointerId);
    });
    this.chart.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = at(event);
      if (Math.abs(to[0] - from[0]) + Math.abs(to[1] - from[1]) > 0.02) this.brush(between(from, to));
    });
    this.chart.addEventListener("pointerup", (event) => {
      const to = at(event);
      if (from && Math.abs(to[0] - from[0]) + Math.abs(to[1] - from[1]) <= 0.02) this.brush(null);
      from = null;
    });
    this.chart.addEventListener("pointercancel", () => (from = null));
    this.chart.addEventListener("keydown", (event) => this.brushKey(event));
  }

  brushKey(event) {
    const step = 0.04;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const box = this.state.brush;
    const shifted = (dx, dy, grow = 0) => ({ x0: box.x0 + dx - grow, x1: box.x1 + dx + grow, y0: box.y0 + dy - grow, y1: box.y1 + dy + grow });
    if (event.key === "b" || event.key === "B") {
      const node = this.lens.node(this.pick);
      const [x, y] = [this.map[0][node], this.map[1][node]];
      this.brush({ x0: x - 0.08, x1: x + 0.08, y0: y - 0.08, y1: y + 0.08 });
    } else if (event.key === "Escape") this.brush(null);
    else if (box && event.key in moves) this.brush(shifted(...moves[event.key]));
    else if (box && (event.key === "+" || event.key === "-")) this.brush(shifted(0, 0, event.key === "+" ? 0.02 : -0.02));
    else return;
    event.preventDefault();
  }

  brush(box) {
    const { map, lens, state } = this;
    if (!box || box.x1 <= box.x0 || box.y1 <= box.y0) state.brush = null;
    else {
      const inside = new Uint8Array(lens.nodes);
      let count = 0;
      for (let i = 0; i < lens.nodes; i++) {
        inside[i] = map[0][i] >= box.x0 && map[0][i] <= box.x1 && map[1][i] >= box.y0 && map[1][i] <= box.y1 ? 1 : 0;
        count += inside[i];
      }
      state.brush = { ...box, inside, count };
    }
    this.clear.hidden = !state.brush;
    this.brushed.textContent = state.brush ? `${state.brush.count} of ${lens.nodes} patches are in the brush; the others are veiled.` : "";
    this.update();
  }

  listValues() {
    if (!this.values.open) return;
    const { lens, pick, state } = this;
    const { rows, cols } = lens.slots[pick.slot];
    const value = (node) => {
      if (state.view === "similarity") return fixed(this.cosines[node]);
      const view = lens.views[state.view];
      if (view.kind === "colours") return [0, 1, 2].map((k) => this.labels[k * lens.nodes + node].toString(16).padStart(2, "0")).join("");
      return this.labels[node] < 0 ? "–" : view.names[this.labels[node]];
    };
    this.valueTable.replaceChildren(...Array.from({ length: rows }, (_, row) => h("tr", {}, h("th", { scope: "row" }, String(row + 1)),
      ...Array.from({ length: cols }, (_, col) => h("td", {}, value(lens.node({ ...pick, row, col })))))));
  }
}

function between([x, y], [u, v]) {
  return { x0: Math.min(x, u), x1: Math.max(x, u), y0: Math.min(y, v), y1: Math.max(y, v) };
}

function marker(kind, x, y) {
  const r = 4;
  const shape = [
    [[0, -r * 1.2], [r * 1.2, r], [-r * 1.2, r]],
    [[-r, -r], [r, -r], [r, r], [-r, r]],
    [[0, -r * 1.4], [r * 1.4, 0], [0, r * 1.4], [-r * 1.4, 0]],
  ][kind];
  return s("polygon", { points: shape.map(([dx, dy]) => `${x + dx},${y + dy}`).join(" "), class: `mark${kind}` });
}

// ---- in a page of its own

const held = typeof document === "undefined" ? null : document.getElementById("model");
if (held) {
  const el = document.getElementById("live");
  const folded = [...document.querySelectorAll("details.folded-live")];
  folded.forEach((one) => (one.open = false));
  window.addEventListener("beforeprint", () => folded.forEach((one) => (one.open = true)));
  window.addEventListener("afterprint", () => folded.forEach((one) => (one.open = false)));
  document.getElementById("copy-script")?.addEventListener("click", async (event) => {
    await navigator.clipboard.writeText(document.getElementById("script").textContent);
    event.target.textContent = "Copied";
  });
  render({ model: JSON.parse(held.textContent), el }).then((app) => {
    window.alignedcut = app;
    document.documentElement.dataset.ready = "yes";
  }).catch((error) => {
    el.textContent = `The live view needs a newer browser (${error.message}). The sheets below need no script.`;
    document.documentElement.dataset.ready = "failed";
  });
}
