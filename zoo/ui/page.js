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
