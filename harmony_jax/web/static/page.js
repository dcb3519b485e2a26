// The page for photos: keeps photo and mask, and sends both with every request.
"use strict";

const PAINT = "rgb(255, 40, 90)";
const UNDO_STEPS = 10;
const VIEWS = ["edit", "compare", "blend"];

// What the mask is: "painted" (the overlay), "file" (as uploaded, until painted on) or "alpha".
const state = { photo: null, cutout: null, size: null, maskSource: "painted", maskFile: null, invert: false, undo: [], before: null, after: null };

const overlay = $("overlay");
const pen = overlay.getContext("2d", { willReadFrequently: true });

function refresh() {
  $("photo").disabled = busy;
  $("paste-controls").disabled = busy || !state.photo;
  $("mask-controls").disabled = busy || !state.photo || Boolean(state.cutout);
  $("mask-controls").hidden = Boolean(state.cutout);
  $("tab-edit").textContent = state.cutout ? "Place" : "Mask";
  $("placed").hidden = $("frame").hidden = !state.cutout;
  $("run-controls").disabled = busy || !state.photo;
  $("save-controls").disabled = busy || !state.after;
  $("undo").disabled = !state.undo.length;
  $("tab-compare").disabled = !state.after;
  $("tab-blend").disabled = !state.after || !$("blend-mask").getAttribute("src");
}

// --- Views

function show(name) {
  $("empty").hidden = true;
  $("tabs").hidden = false;
  for (const view of VIEWS) {
    $(view).hidden = view !== name;
    $(`tab-${view}`).setAttribute("aria-selected", String(view === name));
  }
}
for (const view of VIEWS) $(`tab-${view}`).addEventListener("click", () => show(view));

function drawResult() {
  if (!state.after) return;
  draw($("after"), state.composite || state.before);
  draw($("after"), state.after, strength());
}
$("strength").addEventListener("input", drawResult);

// A result belongs to the photo and mask it was made of.
function forgetResult() {
  state.after = null;
  $("blend-mask").removeAttribute("src");
  refresh();
}

// --- Photo

async function choosePhoto(file) {
  await during("Reading the photo …", async () => {
    const answer = await (await send("/photo", { photo: file })).json();
    const preview = await picture(answer.preview);
    Object.assign(state, { photo: file, cutout: null, composite: null, before: preview, maskSource: "painted", maskFile: null, invert: false, undo: [] });
    takeSize(preview, ["before", "overlay", "compare-before", "after"]);
    draw($("before"), preview);
    draw($("compare-before"), preview);
    $("mask").value = $("cutout").value = "";
    state.size = [answer.width, answer.height];
    $("size").textContent = `${answer.width} × ${answer.height} pixels`;
    forgetResult();
    show("edit");
    if (answer.alpha_mask) {
      await showMask(answer.alpha_mask);
      state.maskSource = "alpha";
      return "The photo's alpha channel is its mask.";
    }
    return "Now paint over the foreground, choose its mask, or paste a cutout.";
  });
}
$("photo").addEventListener("change", () => $("photo").files[0] && choosePhoto($("photo").files[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (!file) return;
  if (state.photo && event.target.closest(".view") && (await hasAlpha(file))) chooseCutout(file);
  else choosePhoto(file);
});

// Whether a picture could be a cutout; what is wrong with it is told when it is opened as a photo.
async function hasAlpha(file) {
  try {
    return Boolean((await (await send("/photo", { photo: file })).json()).alpha_mask);
  } catch {
    return false;
  }
}

// --- Cutout: its visible part lies at x and y of the photo, in the photo's pixels, scaled

async function chooseCutout(file) {
  await during("Reading the cutout …", async () => {
    const answer = await (await send("/cutout", { cutout: file })).json();
    const image = await picture(answer.preview);
    const [width, height] = state.size;
    const scale = Math.min(1, width / 2 / answer.width, height / 2 / answer.height);
    state.cutout = { ...answer, file, image, start: scale };
    $("cutout-picture").src = answer.preview;
    sizeCutout(scale);
    moveCutout((width - answer.width * scale) / 2, (height - answer.height * scale) / 2);
    pen.clearRect(0, 0, overlay.width, overlay.height);
    show("edit");
    $("frame").hidden = false;
    $("frame").scrollIntoView({ block: "nearest" });
    return "Drag the cutout to its place.";
  });
}
$("cutout").addEventListener("change", () => $("cutout").files[0] && chooseCutout($("cutout").files[0]));
$("take-off").addEventListener("click", () => {
  Object.assign(state, { cutout: null, composite: null, maskSource: "painted", invert: false });
  $("cutout").value = "";
  forgetResult();
  show("edit");
});

function moveCutout(x, y) {
  const { cutout, size: [width, height] } = state;
  const own = [cutout.width * cutout.scale, cutout.height * cutout.scale];
  // Some of it stays on the photo, to be taken hold of.
  const least = own.map((side, axis) => Math.min(side, state.size[axis]) / 8);
  cutout.x = Math.min(Math.max(x, least[0] - own[0]), width - least[0]);
  cutout.y = Math.min(Math.max(y, least[1] - own[1]), height - least[1]);
  const style = $("frame").style;
  style.left = `${(cutout.x / width) * 100}%`;
  style.top = `${(cutout.y / height) * 100}%`;
  style.width = `${(own[0] / width) * 100}%`;
  style.height = `${(own[1] / height) * 100}%`;
  if (state.after) forgetResult();
}

// Around a point of the cutout that stays where it is, each from 0 to 1.
function sizeCutout(scale, across = 0.5, down = 0.5) {
  const { cutout } = state;
  const before = cutout.scale || scale;
  const least = 8 / Math.max(cutout.width, cutout.height);
  const most = (4 * Math.max(...state.size)) / Math.max(cutout.width, cutout.height);
  cutout.scale = Math.min(Math.max(scale, least), most);
  const grown = before - cutout.scale;
  $("cutout-size").value = 100 * Math.log2(cutout.scale / cutout.start);
  moveCutout((cutout.x || 0) + across * cutout.width * grown, (cutout.y || 0) + down * cutout.height * grown);
}
$("cutout-size").addEventListener("input", () => sizeCutout(state.cutout.start * 2 ** ($("cutout-size").value / 100)));

// Fingers, or the mouse, that hold the cutout: where each was last, in the photo's pixels.
const held = new Map();
let corner = null;
function onPhoto(event) {
  const box = $("before").getBoundingClientRect();
  const scale = state.size[0] / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}
$("frame").addEventListener("pointerdown", (event) => {
  if (busy || event.button) return;
  $("frame").setPointerCapture(event.pointerId);
  held.set(event.pointerId, onPhoto(event));
  corner = held.size === 1 ? event.target.dataset.corner || null : null;
});
$("frame").addEventListener("pointermove", (event) => {
  const last = held.get(event.pointerId);
  if (!last || busy) return;
  const next = onPhoto(event);
  const { cutout } = state;
  const other = [...held].find(([id]) => id !== event.pointerId);
  const width = cutout.width * cutout.scale;
  const height = cutout.height * cutout.scale;
  if (other) {
    // The other finger stays, and so does what it holds.
    const distance = (point) => Math.hypot(point.x - other[1].x, point.y - other[1].y) || 1;
    const [across, down] = [(other[1].x - cutout.x) / width, (other[1].y - cutout.y) / height];
    sizeCutout((cutout.scale * distance(next)) / distance(last), across, down);
  } else if (corner) {
    // The opposite corner stays; the pointer goes along with the one that it holds.
    const [across, down] = [corner.startsWith("left") ? 1 : 0, corner.endsWith("top") ? 1 : 0];
    const grown = [(next.x - last.x) * (1 - 2 * across) / width, (next.y - last.y) * (1 - 2 * down) / height];
    sizeCutout(cutout.scale * (1 + (grown[0] + grown[1]) / 2), across, down);
  } else {
    moveCutout(cutout.x + next.x - last.x, cutout.y + next.y - last.y);
  }
  held.set(event.pointerId, next);
});
for (const kind of ["pointerup", "pointercancel"]) $("frame").addEventListener(kind, (event) => held.delete(event.pointerId));
$("frame").addEventListener("wheel", (event) => {
  event.preventDefault();
  if (busy) return;
  const { cutout } = state;
  const at = onPhoto(event);
  const [across, down] = [(at.x - cutout.x) / cutout.width / cutout.scale, (at.y - cutout.y) / cutout.height / cutout.scale];
  sizeCutout(cutout.scale * 1.002 ** -event.deltaY, across, down);
}, { passive: false });
$("frame").addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 10 : 1;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  const sizes = { "+": 1.02, "-": 1 / 1.02 };
  if (busy || !(event.key in moves || event.key in sizes)) return;
  event.preventDefault();
  if (event.key in sizes) sizeCutout(state.cutout.scale * sizes[event.key]);
  else moveCutout(state.cutout.x + moves[event.key][0], state.cutout.y + moves[event.key][1]);
});

// The photo with the cutout on it, at the preview's size.
function composite() {
  const { cutout, before } = state;
  const canvas = new OffscreenCanvas($("before").width, $("before").height);
  const context = canvas.getContext("2d");
  const scale = canvas.width / state.size[0];
  context.drawImage(before, 0, 0);
  const sides = [cutout.width, cutout.height].map((side) => side * cutout.scale * scale);
  context.drawImage(cutout.image, cutout.x * scale, cutout.y * scale, ...sides);
  return canvas;
}

// --- Mask: the overlay's alpha channel, in the colour that shows

async function showMask(address) {
  const image = await picture(address);
  const { width, height } = overlay;
  const scratch = new OffscreenCanvas(width, height).getContext("2d");
  scratch.drawImage(image, 0, 0, width, height);
  const grey = scratch.getImageData(0, 0, width, height).data;
  writeOverlay((index) => grey[4 * index]);
}

function writeOverlay(value) {
  const pixels = pen.createImageData(overlay.width, overlay.height);
  const [red, green, blue] = PAINT.match(/\d+/g).map(Number);
  for (let index = 0; index < pixels.data.length / 4; index++) {
    pixels.data.set([red, green, blue, value(index)], 4 * index);
  }
  pen.putImageData(pixels, 0, 0);
}

function overlayValues() {
  return pen.getImageData(0, 0, overlay.width, overlay.height).data;
}

async function paintedMask() {
  const values = overlayValues();
  const canvas = new OffscreenCanvas(overlay.width, overlay.height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  for (let at = 0; at < values.length; at += 4) {
    pixels.data[at] = pixels.data[at + 1] = pixels.data[at + 2] = values[at + 3];
    pixels.data[at + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

$("mask").addEventListener("change", () => {
  const file = $("mask").files[0];
  if (!file) return;
  during("Reading the mask …", async () => {
    const answer = await (await send("/mask", { mask: file, width: overlay.width, height: overlay.height })).json();
    remember();
    await showMask(answer.mask);
    Object.assign(state, { maskSource: "file", maskFile: file, invert: false });
    forgetResult();
    show("edit");
    const [width, height] = state.size;
    if (answer.remark) return `The mask: ${answer.remark}.`;
    if (answer.width !== width || answer.height !== height) {
      return `The mask is ${answer.width} × ${answer.height}, the photo ${width} × ${height}: the mask is resized.`;
    }
  });
});

function remember() {
  state.undo.push({ pixels: pen.getImageData(0, 0, overlay.width, overlay.height), source: state.maskSource, file: state.maskFile, invert: state.invert });
  if (state.undo.length > UNDO_STEPS) state.undo.shift();
  refresh();
}

$("undo").addEventListener("click", () => {
  const step = state.undo.pop();
  pen.putImageData(step.pixels, 0, 0);
  Object.assign(state, { maskSource: step.source, maskFile: step.file, invert: step.invert });
  forgetResult();
});
$("clear").addEventListener("click", () => {
  remember();
  pen.clearRect(0, 0, overlay.width, overlay.height);
  state.maskSource = "painted";
  $("mask").value = "";
  forgetResult();
  show("edit");
});
$("invert").addEventListener("click", () => {
  remember();
  const values = overlayValues();
  writeOverlay((index) => 255 - values[4 * index + 3]);
  state.invert = !state.invert;
  forgetResult();
  show("edit");
});

let last = null;
function place(event) {
  const box = overlay.getBoundingClientRect();
  const scale = overlay.width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale, scale };
}
function stroke(event) {
  const next = place(event);
  pen.globalCompositeOperation =
    document.querySelector("input[name=tool]:checked").value === "erase" ? "destination-out" : "source-over";
  pen.strokeStyle = PAINT;
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = Number($("brush").value) * next.scale;
  pen.beginPath();
  pen.moveTo(last.x, last.y);
  pen.lineTo(next.x, next.y);
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
  last = next;
}
overlay.addEventListener("pointerdown", (event) => {
  if (busy || event.button) return;
  remember();
  overlay.setPointerCapture(event.pointerId);
  state.maskSource = "painted";
  forgetResult();
  last = place(event);
  stroke(event);
});
overlay.addEventListener("pointermove", (event) => last && stroke(event));
for (const kind of ["pointerup", "pointercancel"]) overlay.addEventListener(kind, () => { last = null; });

// --- Result

async function inputs() {
  const fields = { photo: state.photo };
  if (state.cutout) {
    const { file, x, y, left, top, scale } = state.cutout;
    const at = [x - left * scale, y - top * scale].map(Math.round);
    return { ...fields, cutout: file, at: at.join(","), scale: String(scale) };
  }
  // What was painted holds every inversion already; a file or the alpha channel does not.
  if (state.maskSource === "painted") fields.mask = await paintedMask();
  else fields.invert = String(state.invert);
  if (state.maskSource === "file") fields.mask = state.maskFile;
  return fields;
}

$("harmonize").addEventListener("click", () => during("Harmonizing …", async () => {
  const answer = await (await send("/harmonize", await inputs())).json();
  state.after = await picture(answer.preview);
  if (answer.blend_mask) $("blend-mask").src = answer.blend_mask;
  state.composite = state.cutout ? composite() : null;
  draw($("compare-before"), state.composite || state.before);
  drawResult();
  split();
  show("compare");
  return "Done. Drag across the picture to compare.";
}));

$("download").addEventListener("click", () => during("Making the full-size picture …", async () => {
  const ending = $("ending").value;
  const fields = { ...(await inputs()), ending, strength: String(strength()) };
  save(await (await send("/download", fields)).blob(), `${stem(state.photo)}_harmonized${ending}`);
  return "Saved.";
}));
$("save-mask").addEventListener("click", async () => save(await paintedMask(), `${stem(state.photo)}_mask.png`));
