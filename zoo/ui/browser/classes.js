// The lists of classes: each class is found by all its names, in two languages, and shown with its picture. Gradio finds what the list
// itself says, as `dog | 狗`; a class that another of its names finds, as `puppy`, is offered below. CLASS_FILES says where the words and
// the pictures of a label list are; a list of a user's own has none, and stays gradio's.
const classList = { input: null, mark: null, typed: false, walked: -1, rows: [] };
const classRows = {};  // by label list: a promise of [[the name it is listed by, other names ...], ...]
const OFFERED_CLASSES = 12, CLASS_PICTURES_ACROSS = 10;
const LIST_BOXES = "input:is([role=combobox], [role=listbox])";  // the latter in gradio 6.2

const classMark = (input) => [...(input?.closest("[id].block")?.classList ?? [])].find((name) => Object.hasOwn(CLASS_FILES, name));
// The English name alone, as addresses and receipts have it, of the text in a list of classes.
const classNameIn = (input) => (classMark(input) ? input.value.split(" | ")[0] : input?.value ?? "");

const classRowsOf = (mark) => {
  classRows[mark] ??= fetch(CLASS_FILES[mark].words).then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)));
  return classRows[mark].catch(() => { delete classRows[mark]; return []; });  // asked for again when a list is opened again
};
const openClassOptions = () => classList.input?.closest("[id].block")?.querySelector("ul[role=listbox]");
const ownClassOptions = (list) => [...list.querySelectorAll("li[role=option]:not(.offered)")];
const offeredClassOptions = (list) => [...list.querySelectorAll("li.offered")];

// Which of its other names finds a class: from the beginning of a word, or anywhere where words have no blanks between them.
const typedInLatin = (typed) => /^[\x20-\x7e]*$/.test(typed);
const classFoundBy = (names, typed) => {
  const before = typedInLatin(typed) ? " " : "";
  return names.find((name) => `${before}${name.toLowerCase()}`.includes(`${before}${typed}`));
};
const offeredClasses = () => {
  const typed = classList.typed ? classList.input.value.trim().toLowerCase() : "";
  if (typed.length < (typedInLatin(typed) ? 2 : 1)) { return []; }
  const all = classList.rows.map(([shown, ...names], index) => ({ index, shown, names }));
  const others = all.filter(({ shown }) => !shown.toLowerCase().includes(typed));
  return others.map((one) => ({ ...one, word: classFoundBy(one.names, typed) })).filter(({ word }) => word).slice(0, OFFERED_CLASSES);
};
const classOptionFor = ({ index, shown, word }, list) => {
  const option = document.createElement("li");
  option.className = ["item", "offered", ...[...list.classList].filter((name) => name.startsWith("svelte-"))].join(" ");
  Object.assign(option.dataset, { index, word });  // a press on it chooses what data-index says, as on gradio's own
  const spoken = { role: "option", id: `offered-class-${index}`, "aria-selected": "false" };
  Object.entries(spoken).forEach(([name, value]) => option.setAttribute(name, value));
  option.textContent = shown;
  return option;
};
const highlightClass = (list) => {
  const offered = offeredClassOptions(list), own = ownClassOptions(list);
  classList.walked = Math.min(own.length ? classList.walked : Math.max(classList.walked, 0), offered.length - 1);
  offered.forEach((option, place) => option.classList.toggle("active", place === classList.walked));
  list.classList.toggle("walked", classList.walked >= 0);
  const active = offered[classList.walked] ?? own.find((option) => option.classList.contains("active"));
  if (offered.length && active) { classList.input.setAttribute("aria-activedescendant", active.id); }
};
const dressClasses = () => {
  const list = openClassOptions(), pictures = CLASS_FILES[classList.mark]?.pictures;
  if (!list) { return; }
  const wanted = offeredClasses(), there = offeredClassOptions(list);
  const told = (all) => all.map(({ index, word }) => `${index} ${word}`).join();
  if (told(wanted) !== told(there.map(({ dataset }) => dataset))) {
    there.forEach((option) => option.remove());
    list.append(...wanted.map((one) => classOptionFor(one, list)));
  }
  const first = !list.classList.contains("classes");
  list.classList.add("classes");
  list.classList.toggle("pictured", Boolean(pictures));
  if (pictures) { list.style.setProperty("--sheet", `url("${new URL(pictures, document.baseURI).href}")`); }
  for (const option of pictures ? list.querySelectorAll("li[role=option]") : []) {
    const index = Number(option.dataset.index), known = index < classList.rows.length;
    option.style.setProperty("--column", known ? index % CLASS_PICTURES_ACROSS : "");
    option.style.setProperty("--row", known ? Math.floor(index / CLASS_PICTURES_ACROSS) : "");
  }
  const chosen = first && list.querySelector("[aria-selected=true]");
  if (chosen) { list.scrollTop = chosen.offsetTop - (list.clientHeight - chosen.offsetHeight) / 2; }  // its place is another with pictures
  highlightClass(list);
  classChanges.takeRecords();  // its own
};
const classChanges = new MutationObserver(dressClasses);

document.addEventListener("focusin", async ({ target }) => {
  const mark = target.matches(LIST_BOXES) && classMark(target);
  classChanges.disconnect();
  Object.assign(classList, { input: mark ? target : null, mark, typed: false, walked: -1, rows: [] });
  if (!mark) { return; }
  classChanges.observe(target.closest("[id].block"), { subtree: true, childList: true, attributeFilter: ["data-index"] });
  const rows = await classRowsOf(mark);
  if (classList.input === target) { classList.rows = rows; dressClasses(); }
});
// Gradio filters a list when a key goes down: what an input method writes, or a paste, comes after that, in lists of whatever kind.
document.addEventListener("input", ({ target }) => {
  if (!target.matches(LIST_BOXES)) { return; }
  target.dispatchEvent(new KeyboardEvent("keydown", { key: "Unidentified", bubbles: true }));
  if (target !== classList.input) { return; }
  Object.assign(classList, { typed: true, walked: -1 });
  dressClasses();
});
// The keys go on from gradio's last choice to those that are offered below, and back.
window.addEventListener("keydown", (event) => {
  const list = event.target === classList.input && openClassOptions(), offered = list ? offeredClassOptions(list) : [];
  if (!offered.length || event.isComposing || !["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) { return; }
  const own = ownClassOptions(list), below = !own.length || own.at(-1).classList.contains("active"), { walked } = classList;
  if (walked < 0 && !(event.key === "ArrowDown" && below)) { return; }
  event.preventDefault();
  event.stopImmediatePropagation();
  if (event.key === "Enter") {
    offered[walked].dispatchEvent(new MouseEvent("mousedown", { bubbles: true, cancelable: true }));
    return;
  }
  classList.walked = event.key === "ArrowDown" ? walked + 1 : walked - 1;
  highlightClass(list);
  offered[classList.walked]?.scrollIntoView({ block: "nearest" });
}, true);
