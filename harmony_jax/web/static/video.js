// The page for clips: sends clip and masks with every request, and keeps the frames to look at.
"use strict";

const state = { frames: [] };

function refresh() {
  const chosen = Boolean($("clip").files[0]);
  $("clip").disabled = $("mask").disabled = busy;
  $("run-controls").disabled = $("save-controls").disabled = busy || !chosen;
  $("frame-number").disabled = state.frames.length < 2;
}

function inputs() {
  const fields = { clip: $("clip").files[0] };
  if ($("mask").files[0]) fields.mask = $("mask").files[0];
  return fields;
}

// Frames belong to the clip and the masks that they were made of.
for (const id of ["clip", "mask"]) {
  $(id).addEventListener("change", () => {
    state.frames = [];
    $("compare").hidden = true;
    $("empty").hidden = false;
    $("status").textContent = $("frame-value").textContent = "";
    refresh();
  });
}

function split() {
  const percent = $("split").value / 10;
  $("after").style.clipPath = `inset(0 0 0 ${percent}%)`;
  $("divider").style.left = `${percent}%`;
}
$("split").addEventListener("input", split);

function showFrame() {
  const strength = $("strength").value;
  $("strength-value").textContent = `${strength} %`;
  const frame = state.frames[$("frame-number").value];
  if (!frame) return;
  $("frame-value").textContent = `${frame.number + 1} of ${state.count}`;
  const { naturalWidth: width, naturalHeight: height } = frame.before;
  document.querySelector(".view").style.setProperty("--aspect", width / height);
  for (const id of ["compare-before", "after"]) {
    $(id).width = width;
    $(id).height = height;
    $(id).getContext("2d").drawImage(frame.before, 0, 0);
  }
  const pen = $("after").getContext("2d");
  pen.globalAlpha = strength / 100;
  pen.drawImage(frame.after, 0, 0);
  $("empty").hidden = true;
  $("compare").hidden = false;
  split();
}
for (const id of ["frame-number", "strength"]) $(id).addEventListener("input", showFrame);

$("preview").addEventListener("click", () => during("Harmonizing some frames …", async () => {
  const answer = await (await send("/video/preview", inputs())).json();
  const both = async ({ number, before, after }) => ({ number, before: await picture(before), after: await picture(after) });
  state.frames = await Promise.all(answer.frames.map(both));
  state.count = answer.count;
  $("frame-number").max = state.frames.length - 1;
  $("frame-number").value = 0;
  showFrame();
  return answer.remarks.join(" ") || "Done. Drag across the picture to compare.";
}));

$("download").addEventListener("click", () => during("Harmonizing the clip …", async () => {
  const ending = $("ending").value;
  const fields = { ...inputs(), ending, strength: String($("strength").value / 100) };
  const blob = await (await send("/video/download", fields)).blob();
  save(blob, `${fields.clip.name.replace(/\.[^.]*$/, "")}_harmonized${ending}`);
  return "Saved.";
}));

refresh();
