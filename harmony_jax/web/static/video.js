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

function showFrame() {
  const frame = state.frames[$("frame-number").value];
  if (!frame) return;
  $("frame-value").textContent = `${frame.number + 1} of ${state.count}`;
  takeSize(frame.before, ["compare-before", "after"]);
  for (const id of ["compare-before", "after"]) draw($(id), frame.before);
  draw($("after"), frame.after, strength());
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
  const fields = { ...inputs(), ending, strength: String(strength()) };
  const blob = await (await send("/video/download", fields)).blob();
  save(blob, `${stem(fields.clip)}_harmonized${ending}`);
  return "Saved.";
}));

refresh();
