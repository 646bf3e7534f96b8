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
  if (narrow && event.target.closest("#generate")) { document.querySelector(".result").scrollIntoView({ behavior: "smooth" }); }
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
