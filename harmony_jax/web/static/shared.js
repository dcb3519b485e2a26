// What the pages share: requests to the server, one at a time, the comparison, and downloads.
"use strict";

const $ = (id) => document.getElementById(id);
const maxUploadBytes = Number(document.body.dataset.maxUploadBytes);

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

function picture(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("the preview cannot be shown"));
    image.src = address;
  });
}

// --- Before and after

function split() {
  const percent = $("split").value / 10;
  $("after").style.clipPath = `inset(0 0 0 ${percent}%)`;
  $("divider").style.left = `${percent}%`;
}
$("split").addEventListener("input", split);

function strength() {
  return $("strength").value / 100;
}
$("strength").addEventListener("input", () => { $("strength-value").textContent = `${$("strength").value} %`; });

// Canvases get the size of a picture, and the view its shape.
function takeSize(image, canvases) {
  const { naturalWidth: width, naturalHeight: height } = image;
  for (const id of canvases) Object.assign($(id), { width, height });
  document.querySelector(".view").style.setProperty("--aspect", width / height);
}

function draw(canvas, image, opacity = 1) {
  const context = canvas.getContext("2d");
  context.globalAlpha = opacity;
  context.drawImage(image, 0, 0);
  context.globalAlpha = 1;
}

// --- Downloads

function stem(file) {
  return file.name.replace(/\.[^.]*$/, "");
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
