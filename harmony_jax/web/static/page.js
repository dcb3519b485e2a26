// The page: keeps photo and mask, and sends both with every request.
"use strict";

const $ = (id) => document.getElementById(id);
const maxUploadBytes = Number(document.body.dataset.maxUploadBytes);
const PAINT = "rgb(255, 40, 90)";
const UNDO_STEPS = 10;
const VIEWS = ["edit", "compare", "blend"];

// What the mask is: "painted" (the overlay), "file" (as uploaded, until painted on) or "alpha".
const state = { photo: null, size: null, maskSource: "painted", maskFile: null, invert: false, undo: [], before: null, after: null };

const overlay = $("overlay");
const pen = overlay.getContext("2d", { willReadFrequently: true });

// --- Requests

async function send(path, fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) {
      if (value.size > maxUploadBytes) {
        throw new Error(`${value.name || name} is larger than ${maxUploadBytes / 1e6} MB: make it smaller`);
      }
      form.append(name, value, value.name || `${name}.png`);
    } else {
      form.append(name, value);
    }
  }
  let response;
  try {
    response = await fetch(path, { method: "POST", body: form });
  } catch {
    throw new Error("no answer: is `harmonize serve` still running, and the file unchanged?");
  }
  if (!response.ok) {
    const text = await response.text();
    let message = `${response.status} ${response.statusText}`;
    try { message = JSON.parse(text).error; } catch { /* not from the page's own code */ }
    throw new Error(message);
  }
  return response;
}

// One thing at a time: shows that it goes on, and what went wrong.
let busy = false;
async function during(text, work) {
  if (busy) return;
  busy = true;
  $("error").hidden = true;
  $("status").textContent = text;
  document.body.style.cursor = "progress";
  refresh();
  let done = "";
  try {
    done = (await work()) || "";
  } catch (error) {
    $("error").textContent = error.message;
    $("error").hidden = false;
  }
  busy = false;
  document.body.style.cursor = "";
  $("status").textContent = done;
  refresh();
}

function refresh() {
  $("photo").disabled = busy;
  $("mask-controls").disabled = busy || !state.photo;
  $("run-controls").disabled = busy || !state.photo;
  $("save-controls").disabled = busy || !state.after;
  $("undo").disabled = !state.undo.length;
  $("tab-compare").disabled = !state.after;
  $("tab-blend").disabled = !state.after || !$("blend-mask").getAttribute("src");
}

function picture(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("the preview cannot be shown"));
    image.src = address;
  });
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

function draw(canvas, image, opacity = 1) {
  const context = canvas.getContext("2d");
  context.globalAlpha = opacity;
  context.drawImage(image, 0, 0);
  context.globalAlpha = 1;
}

function drawResult() {
  const strength = $("strength").value / 100;
  $("strength-value").textContent = `${$("strength").value} %`;
  if (!state.after) return;
  draw($("after"), state.before);
  draw($("after"), state.after, strength);
}
$("strength").addEventListener("input", drawResult);

function split() {
  const percent = $("split").value / 10;
  $("after").style.clipPath = `inset(0 0 0 ${percent}%)`;
  $("divider").style.left = `${percent}%`;
}
$("split").addEventListener("input", split);

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
    Object.assign(state, { photo: file, before: preview, maskSource: "painted", maskFile: null, invert: false, undo: [] });
    for (const id of ["before", "overlay", "compare-before", "after"]) {
      $(id).width = preview.naturalWidth;
      $(id).height = preview.naturalHeight;
    }
    document.querySelector(".view").style.setProperty("--aspect", preview.naturalWidth / preview.naturalHeight);
    draw($("before"), preview);
    draw($("compare-before"), preview);
    $("mask").value = "";
    state.size = [answer.width, answer.height];
    $("size").textContent = `${answer.width} × ${answer.height} pixels`;
    forgetResult();
    show("edit");
    if (answer.alpha_mask) {
      await showMask(answer.alpha_mask);
      state.maskSource = "alpha";
      return "The photo's alpha channel is its mask.";
    }
    return "Now paint over the foreground, or choose its mask.";
  });
}
$("photo").addEventListener("change", () => $("photo").files[0] && choosePhoto($("photo").files[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) choosePhoto(event.dataTransfer.files[0]);
});

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
  drawResult();
  split();
  show("compare");
  return "Done. Drag across the picture to compare.";
}));

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function stem() {
  return state.photo.name.replace(/\.[^.]*$/, "");
}

$("download").addEventListener("click", () => during("Making the full-size picture …", async () => {
  const ending = $("ending").value;
  const fields = { ...(await inputs()), ending, strength: String($("strength").value / 100) };
  save(await (await send("/download", fields)).blob(), `${stem()}_harmonized${ending}`);
  return "Saved.";
}));
$("save-mask").addEventListener("click", async () => save(await paintedMask(), `${stem()}_mask.png`));
