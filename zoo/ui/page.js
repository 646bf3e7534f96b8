// Enter generates, Escape stops, and a PNG dropped anywhere on the page goes to the place that reads its receipt.
document.addEventListener("keydown", (event) => {
  const press = (id) => { const button = document.querySelector(id); if (button) { button.click(); } };
  if (event.key === "Escape") { press("#stop"); }
  const target = event.target;
  const typing = target.closest("textarea, button, a, [role=listbox], [role=combobox], [aria-expanded=true]");
  if (event.key === "Enter" && !typing) { target.blur(); setTimeout(() => press("#generate"), 60); }
});
document.addEventListener("click", (event) => {  // on a phone the result lies below the controls
  const narrow = window.matchMedia("(max-width: 760px)").matches;
  const begun = event.target.closest("#generate, #video-generate, #compare-go, #grid-go");
  if (narrow && begun) { begun.closest(".tab").querySelector(".result").scrollIntoView({ behavior: "smooth" }); }
});
document.addEventListener("click", (event) => {  // so that typing searches at once, instead of adding to the name that stands there
  if (event.target.matches("input[role=combobox]")) { event.target.select(); }
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  const input = document.querySelector(".controls > input[type=file]");
  if (!input || event.target.closest("#drop") || !event.dataTransfer.files.length) { return; }
  event.preventDefault();
  const files = new DataTransfer();
  files.items.add(event.dataTransfer.files[0]);
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// The timeline: every preview of the last run is remembered here, in the page, and can be looked at again after the run.
const timeline = { steps: [], seen: null };
const scrub = (index) => {
  const { steps } = timeline, bar = document.querySelector("#timeline"), last = index === steps.length;
  bar.querySelector("output").value = last ? "result" : `step ${steps[index].step} of ${steps[index].total}`;
  document.querySelector("#gallery .scrub")?.remove();
  if (last) { return; }
  const frame = document.createElement("div");
  frame.className = "frame scrub";
  frame.style.cssText = steps[index].style;
  frame.innerHTML = steps[index].pictures;
  document.querySelector("#gallery").append(frame);
};
const remember = () => {
  const bar = document.querySelector("#timeline"), frame = document.querySelector("#preview .frame[data-step]");
  if (frame && frame.dataset.step !== timeline.seen) {
    timeline.seen = frame.dataset.step;
    const step = Number(frame.dataset.step), total = Number(frame.dataset.total);
    if (step === 0) { timeline.steps = []; bar.classList.remove("on"); }
    if (step > 0 && step % Math.ceil(total / 100) === 0) {
      timeline.steps.push({ step, total, style: frame.style.cssText, pictures: frame.innerHTML });
    }
  }
  const done = document.querySelector("#gallery img") && document.querySelector("#generate");
  if (bar && done && timeline.steps.length && !bar.classList.contains("on")) {
    const input = bar.querySelector("input");
    input.max = timeline.steps.length;
    input.value = input.max;
    bar.classList.add("on");
    scrub(timeline.steps.length);
  }
};
new MutationObserver(remember).observe(document, { subtree: true, childList: true, attributeFilter: ["data-step"] });
document.addEventListener("input", (event) => { if (event.target.closest("#timeline")) { scrub(Number(event.target.value)); } });
document.addEventListener("click", (event) => {  // another picture than the run's comes into the frame
  if (!event.target.closest("#history, #clear")) { return; }
  timeline.steps = [];
  document.querySelector("#gallery .scrub")?.remove();
  document.querySelector("#timeline").classList.remove("on");
});

// The frame slider of a video: any frame of the strip, large.
document.addEventListener("input", (event) => {
  const strip = event.target.closest("#strip");
  if (!strip) { return; }
  const cells = strip.querySelectorAll(".cells img"), index = Number(event.target.value) - 1;
  strip.querySelector(".large").src = cells[index].src;
  strip.querySelector("output").value = `${index + 1} of ${cells.length}`;
});

// Compare: what every column showed is remembered here by how noisy it was, and one slider shows all columns at equal noise.
const compared = new Map();  // place -> { run, frames: [{ noise, style, content }], last }
const collect = () => {
  const frames = [...document.querySelectorAll("#compare-columns .samples .frame")];
  frames.forEach((frame) => {
    const { place, run } = frame.parentElement.dataset, known = compared.get(place), noise = Number(frame.dataset.noise);
    const same = known && (known.run === run || (noise === 0 && known.run.startsWith(run)));
    const column = same ? known : { frames: [] };
    compared.set(place, column);
    if (column.last === `${run} ${noise}`) { return; }
    Object.assign(column, { run, last: `${run} ${noise}` });
    if (frame.querySelector("i")) { return; }  // nothing to see yet
    column.frames.push({ noise, style: frame.style.cssText, content: frame.innerHTML });
  });
  const ended = frames.length > 0 && frames.every((frame) => Number(frame.dataset.noise) === 0);
  const formed = frames.some((frame) => compared.get(frame.parentElement.dataset.place).frames.length > 1);
  const bar = document.querySelector("#compare-timeline");
  if (bar && (ended && formed) !== bar.classList.contains("on")) {
    bar.classList.toggle("on", ended && formed);
    bar.querySelector("input").value = 100;
    bar.querySelector("output").value = "result";
  }
  roll();
};
document.addEventListener("input", (event) => {
  const bar = event.target.closest("#compare-timeline");
  if (!bar) { return; }
  const places = [...document.querySelectorAll("#compare-columns .samples")].map((column) => compared.get(column.dataset.place).frames);
  const levels = places.flat().filter((one) => one.noise > 0).map((one) => 0.5 * Math.log(1 / one.noise ** 2 - 1));
  const low = Math.min(...levels), high = Math.max(...levels);  // evenly in the log of signal to noise, as solvers step
  const share = event.target.value / 100;
  const noise = share < 1 ? 1 / Math.sqrt(1 + Math.exp(2 * (low + (high - low) * share))) : 0;
  bar.querySelector("output").value = noise ? `noise ${(100 * noise).toFixed(noise > 0.95 ? 1 : 0)} %` : "result";
  document.querySelectorAll("#compare-columns .samples .frame").forEach((frame) => {
    const { frames } = compared.get(frame.parentElement.dataset.place);
    const near = frames.reduce((best, one) => (Math.abs(one.noise - noise) <= Math.abs(best.noise - noise) ? one : best));
    frame.style.cssText = near.style;
    frame.innerHTML = near.content;
  });
  show(film.at);
});

// The videos of all columns stand on one picture of their frames each, and one clock says which frame is seen.
const film = { at: 0, playing: !window.matchMedia("(prefers-reduced-motion: reduce)").matches, clock: null };
const clips = () => [...document.querySelectorAll("#compare-columns .clip")];
const show = (at) => {
  const all = clips(), longest = Math.max(1, ...all.map((clip) => Number(clip.dataset.frames)));
  film.at = ((at % longest) + longest) % longest;
  all.forEach((clip) => {
    const { frames, across, down } = clip.dataset, frame = Math.min(film.at, frames - 1);
    const share = (index, count) => (count > 1 ? (100 * index) / (count - 1) : 0);
    clip.style.backgroundPosition = `${share(frame % across, across)}% ${share(Math.floor(frame / across), down)}%`;
    clip.dataset.shown = frame;
  });
  const bar = document.querySelector("#lockstep");
  bar.querySelector("input").max = longest - 1;
  bar.querySelector("input").value = film.at;
  bar.querySelector("output").value = `${film.at + 1} of ${longest}`;
  bar.querySelector("button").textContent = film.playing ? "Pause" : "Play";
};
const roll = () => {
  const bar = document.querySelector("#lockstep"), some = clips();
  if (bar && bar.classList.contains("on") !== some.length > 0) {
    bar.classList.toggle("on", some.length > 0);
    clearInterval(film.clock);
    film.clock = some.length ? setInterval(() => { if (film.playing) { show(film.at + 1); } }, 1000 / Number(some[0].dataset.fps)) : null;
  }
  if (some.some((clip) => clip.dataset.shown === undefined)) { show(film.at); }
};
document.addEventListener("input", (event) => {
  if (event.target.closest("#lockstep")) { film.playing = false; show(Number(event.target.value)); }
});
document.addEventListener("click", (event) => {
  if (event.target.closest("#lockstep button")) { film.playing = !film.playing; show(film.at); }
});
new MutationObserver(collect).observe(document, { subtree: true, childList: true, attributeFilter: ["data-noise", "data-run"] });

// Look inside: the arrow keys walk the patches; the caption, which says so to a screen reader, holds the numbers.
const walk = { row: 0, column: 0 };
const describeLook = () => {
  const picture = document.querySelector("#look-picture"), status = document.querySelector("#look-status");
  if (!picture || !status || status.dataset.read) { return; }
  status.dataset.read = "";
  const { rows, columns, row, column, title, words } = status.dataset;
  Object.assign(walk, { rows: Number(rows), columns: Number(columns), row: Number(row), column: Number(column) });
  const label = `Picture of ${rows} by ${columns} patches: the arrow keys move the clicked patch.`;
  Object.entries({ tabindex: "0", role: "group", "aria-label": label }).forEach(([name, value]) => picture.setAttribute(name, value));
  document.querySelectorAll("#look-picture img").forEach((image) => { image.alt = `The picture that ${title} is given, ${rows} by ${columns} patches`; });
  document.querySelectorAll("#look-heat img").forEach((image) => { image.alt = `Attention map. ${words}`; });
};
new MutationObserver(describeLook).observe(document, { subtree: true, childList: true });
document.addEventListener("keydown", (event) => {
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const picture = event.target.closest?.("#look-picture"), image = picture?.querySelector("img");
  if (!move || !image || event.target !== picture || event.ctrlKey || event.metaKey || event.altKey) { return; }
  event.preventDefault();
  walk.row = Math.min(Math.max(walk.row + move[0], 0), walk.rows - 1);
  walk.column = Math.min(Math.max(walk.column + move[1], 0), walk.columns - 1);
  const { left, top, width, height } = image.getBoundingClientRect();
  const clientX = left + ((walk.column + 0.5) * width) / walk.columns, clientY = top + ((walk.row + 0.5) * height) / walk.rows;
  image.dispatchEvent(new MouseEvent("click", { bubbles: true, clientX, clientY }));
});
