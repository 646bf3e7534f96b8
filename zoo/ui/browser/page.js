// Where a login is asked for and has ended, this address is opened again: it asks for the login, and leads back here.
const ask = window.fetch;
window.fetch = async (...values) => {
  const answer = await ask(...values);
  if (answer.status === 401 && new URL(answer.url).origin === location.origin) { location.reload(); }
  return answer;
};

// The open tab: keys, drops and the address belong to it. The innermost open one is that of a tab inside a tab.
const panels = () => [...document.querySelectorAll("[role=tabpanel]")].filter((panel) => panel.offsetParent);
const openPanel = () => panels().at(-1) ?? document;
const narrow = () => window.matchMedia("(max-width: 760px)").matches;
const visible = (element) => element?.offsetParent;

// Enter starts what the open tab does, Escape stops it.
const press = (kind) => { const button = [...openPanel().querySelectorAll(`button.${kind}`)].find(visible); if (button && !button.disabled) { button.click(); } };
document.addEventListener("keydown", (event) => {
  if (!event.isTrusted) { return; }
  if (event.key === "Escape") { hideHelp(); press("halt"); }
  const target = event.target;
  const busy = target.closest("textarea, button, a, summary, [role=listbox], [role=combobox], [role=tab], [aria-expanded=true], [tabindex]:not(input)");
  if (event.key === "Enter" && !busy) { target.blur(); setTimeout(() => press("go"), 60); }
});
// A list opens by a click, an arrow key or typing, never because Tab came by; gradio opens it on focus, and again when Tab leaves it.
const tabbing = { on: false };
window.addEventListener("keydown", (event) => {
  tabbing.on = event.key === "Tab";
  if (tabbing.on && event.target.matches?.("input[role=combobox]")) { event.stopImmediatePropagation(); }
}, true);
window.addEventListener("pointerdown", () => { tabbing.on = false; }, true);
window.addEventListener("focus", (event) => {
  const list = event.target;
  if (!tabbing.on || !list.matches?.("input[role=combobox]")) { return; }
  list.select();
  setTimeout(() => list.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true })));  // which closes it, for gradio alone
}, true);
document.addEventListener("click", (event) => {  // on a phone what was started comes into view
  const started = event.target.closest("button.go");
  if (started && narrow() && !story.pressing) { started.closest(".tab").scrollIntoView({ behavior: "smooth" }); }
});
document.addEventListener("click", (event) => {  // so that typing searches at once, instead of adding to the name that stands there
  if (event.target.matches("input[role=combobox]")) { event.target.select(); }
});

// A file dropped anywhere goes to the place that can read it: the server decides by what the file is.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  const input = document.querySelector("#dropped input[type=file], input#dropped, .dropped input[type=file]");
  if (!input || event.target.closest("[data-testid=file-upload], .upload-container, [data-drop]") || !event.dataTransfer.files.length) { return; }
  event.preventDefault();
  const files = new DataTransfer();
  files.items.add(event.dataTransfer.files[0]);
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// An error is always seen: where it appears outside the view, the view goes there.
new MutationObserver((changes) => {
  for (const change of changes) {
    for (const node of change.addedNodes) {
      const error = node.nodeType === 1 && (node.matches(".note.error") ? node : node.querySelector(".note.error"));
      if (!error || !visible(error)) { continue; }
      const { top, bottom } = error.getBoundingClientRect(), bar = narrow() ? 76 : 0;
      if (top < 0 || bottom > window.innerHeight - bar) { error.scrollIntoView({ block: "center" }); }
    }
  }
}).observe(document, { subtree: true, childList: true });

// Help: one line a control, on hover, focus by keyboard, or a tap on its name; screen readers have it as the description.
const help = { line: null, of: null, soon: null };
const hideHelp = () => { clearTimeout(help.soon); if (help.line) { help.line.hidden = true; help.of = null; } };
const showHelp = (block, more = "") => {
  const text = said(HELP[helpName(block)]);
  if (!help.line) {
    help.line = document.createElement("div");
    help.line.id = "help-line";
    help.line.setAttribute("aria-hidden", "true");  // the controls carry the same words as their description
    document.body.append(help.line);
  }
  Object.assign(help, { of: block });
  help.line.textContent = text + more;
  help.line.hidden = false;
  const { left, right, top, bottom } = block.getBoundingClientRect(), box = help.line.getBoundingClientRect();
  const beside = !narrow() && block.closest(".controls"), above = top - box.height - 6;  // it covers no other control
  help.line.style.left = `${beside ? right + 8 : Math.max(8, Math.min(left, window.innerWidth - box.width - 8))}px`;
  help.line.style.top = `${beside ? Math.max(4, top) : above > 4 ? above : bottom + 6}px`;
};
const helpName = (block) => block.dataset.help ?? block.id;  // of what stands on the page more than once, the name is no id
const helped = (element) => {
  const next = (from) => from?.closest?.("[id], [data-help]");
  for (let block = next(element); block; block = next(block.parentElement)) { if (HELP[helpName(block)]) { return block; } }
  return null;
};
document.addEventListener("pointerover", (event) => {
  if (event.pointerType !== "mouse") { return; }
  const block = helped(event.target);
  if (block !== help.of) { hideHelp(); }
  if (block && block !== help.of) { help.soon = setTimeout(showHelp, 400, block); }
});
document.addEventListener("focusin", (event) => {
  const block = helped(event.target);
  if (block && event.target.matches(":focus-visible") && !event.target.matches("[role=combobox]")) { showHelp(block, LEARN.of[block.id] ? ` ${said("F1 tells more.")}` : ""); }
});
document.addEventListener("focusout", hideHelp);
document.addEventListener("scroll", hideHelp, true);
document.addEventListener("click", (event) => {
  const name = event.target.closest("label, [data-testid=block-info], .head");
  const block = name && !event.target.closest("input, textarea, button, select") && helped(event.target);
  if (block) { showHelp(block); } else if (!event.target.closest("label")) { hideHelp(); }
});
const describe = () => {
  for (const [id, text] of Object.entries(HELP)) {
    const block = document.getElementById(id);
    if (!block || block.dataset.helped) { continue; }
    const parts = block.matches("button, input, textarea") ? [block] : block.querySelectorAll("input, textarea, button, [role=combobox]");
    parts.forEach((part) => part.setAttribute("aria-description", text));
    if (parts.length) { block.dataset.helped = ""; }
  }
  document.querySelectorAll("[data-help]:not([aria-description])").forEach((part) => part.setAttribute("aria-description", HELP[part.dataset.help]));
};

// The address says what is chosen: `tab` and the words of the API. A link that is opened sets all this (on the server, when the page loads).
// While a story is told, the address is that story's, until somebody touches a control himself (stories.js).
const address = { words: {}, tab: null, touched: false, story: new URLSearchParams(location.search).get("story") };
["pointerdown", "keydown", "drop"].forEach((kind) => window.addEventListener(kind, () => { address.touched = true; }, true));
const TABS = { Image: "image", Video: "video", Compare: "compare", "Look inside": "look", Models: "models" };
const tabs = () => [...document.querySelectorAll("[role=tab]")].filter((tab) => inEnglish(tab).trim() in TABS);
const link = (tab, words) => {
  const query = new URLSearchParams([...new URLSearchParams(location.search)].filter(([name]) => name.startsWith("__")));
  query.set("tab", tab);
  for (const [name, value] of Object.entries(words ?? {})) {
    if (value !== null && value !== undefined && value !== "") { query.set(name, typeof value === "number" ? String(+value.toFixed(6)) : value); }
  }
  return `${location.pathname}?${query}`;
};
const chose = (tab, words) => {  // called by gradio whenever a control of a tab changes
  address.words[tab] = words;
  if (tab === address.tab && address.touched && !address.story) { history.replaceState(null, "", link(tab, words)); }
};
const follow = () => {
  const open = tabs().find((tab) => tab.getAttribute("aria-selected") === "true");
  const tab = open && TABS[inEnglish(open).trim()];
  if (!tab || tab === address.tab) { return; }
  const first = address.tab === null, named = new URLSearchParams(location.search).get("tab");
  address.tab = tab;
  if (!first && named !== tab && !address.story) { history.pushState(null, "", link(tab, address.words[tab])); }  // the first one is what the server will change
};
window.addEventListener("popstate", () => {
  if (returnToStory()) { return; }
  const wanted = new URLSearchParams(location.search).get("tab") ?? "image";
  const button = tabs().find((tab) => TABS[inEnglish(tab).trim()] === wanted);
  if (button && wanted !== address.tab) { address.tab = wanted; button.click(); }
});
const nameOf = (id) => classNameIn(document.querySelector(`#${id} input`));
const choseLook = ([model, label, prompt, seed, steps]) => {
  const generator = document.querySelector("#look-steps")?.offsetParent;
  chose("look", generator ? { model, label: label === null ? "" : nameOf("look-label"), prompt, seed, steps } : { model });
};
const choseComparison = ([number, label, prompt, count, seed, ...values]) => {
  const settings = [];
  for (let k = 0; k < number; k += 1) {
    const [model, steps, solver, guidance, eta, vae] = values.slice(6 * k, 6 * k + 6);
    const first = { label: label === "each" ? label : nameOf("compare-label"), prompt, count, seed: seed === "" ? "" : Number(seed) };
    const words = Object.entries({ model, ...(k ? {} : first), steps, solver, guidance, eta: solver === "ddim" ? eta : null, vae });
    settings.push(Object.fromEntries(words.filter(([, value]) => value !== null && value !== undefined && value !== "")));
  }
  chose("compare", { settings: JSON.stringify(settings) });
};
const copyAddress = (from) => copy(new URL(link(address.tab, address.words[address.tab]), location.href).href, from);
const copyLink = async (tab, receipt) => {
  const { request, seed, label } = receipt;
  const words = { model: request.model, [request.prompt ? "prompt" : "label"]: request.prompt || (request.labels.length ? label : ""), seed, count: tab === "image" ? 1 : "",
    steps: request.steps, solver: request.solver, guidance: request.guidance, eta: request.eta || "", vae: request.vae ?? "",
    interval_low: request.interval?.[0] ?? "", interval_high: request.interval?.[1] ?? "",
    negative_prompt: request.negative_prompt, ...(tab === "video" ? { frames: request.frames, fps: request.fps } : {}) };
  await copy(new URL(link(tab, words), location.href).href, `#${tab === "video" ? "video-" : ""}link`);
};
const copy = async (text, from) => {
  const button = document.querySelector(from), name = inEnglish(button);
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Link copied";
    setTimeout(() => { button.textContent = name; }, 2000);
  } catch {  // no secure context, or not allowed: it can be copied by hand
    window.prompt(said("Copy this link:"), text);
  }
};
const lists = () => {  // Chromium lets Tab stop at a list that scrolls, which then is gone, and the focus with it
  document.querySelectorAll("[role=listbox]:not([tabindex])").forEach((list) => { list.tabIndex = -1; });
};
new MutationObserver(() => { describe(); follow(); lists(); }).observe(document, { subtree: true, childList: true, attributeFilter: ["aria-selected", "id"] });

// The frame slider of a video: any frame of the strip, large.
document.addEventListener("input", (event) => {
  const strip = event.target.closest("#strip");
  if (!strip) { return; }
  const cells = strip.querySelectorAll(".cells img"), index = Number(event.target.value) - 1;
  strip.querySelector(".large").src = cells[index].src;
  strip.querySelector("output").value = `${index + 1} of ${cells.length}`;
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
  const button = bar.querySelector("button"), word = film.playing ? "Pause" : "Play";
  if (inEnglish(button) !== word) { button.textContent = word; }
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
new MutationObserver(roll).observe(document, { subtree: true, childList: true });

// Look inside: the arrow keys walk the patches; the caption, which says so to a screen reader, holds the numbers.
const walk = { row: 0, column: 0, keys: false, timer: null };
const describeLook = () => {
  const picture = document.querySelector("#look-picture"), status = document.querySelector("#look-status");
  if (!picture || !status || status.dataset.read) { return; }
  status.dataset.read = "";
  const { rows, columns, row, column, title, words } = status.dataset;
  const same = walk.rows === Number(rows) && walk.columns === Number(columns);
  Object.assign(walk, { rows: Number(rows), columns: Number(columns) });
  if (!walk.keys || !same) { Object.assign(walk, { row: Number(row), column: Number(column) }); }  // keys may be ahead of the server
  const label = `Picture of ${rows} by ${columns} patches: the arrow keys move the clicked patch.`;
  Object.entries({ tabindex: "0", role: "group", "aria-label": label }).forEach(([name, value]) => picture.setAttribute(name, value));
  document.querySelectorAll("#look-picture img").forEach((image) => { image.alt = `The picture that ${title} is given, ${rows} by ${columns} patches`; });
  document.querySelectorAll("#look-heat img").forEach((image) => { image.alt = `Attention map. ${words}`; });
};
new MutationObserver(describeLook).observe(document, { subtree: true, childList: true });
document.addEventListener("click", (event) => { if (event.isTrusted) { walk.keys = false; } });
document.addEventListener("keydown", (event) => {
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const picture = event.target.closest?.("#look-picture"), image = picture?.querySelector("img");
  if (!move || !image || event.ctrlKey || event.metaKey || event.altKey) { return; }
  event.preventDefault();
  walk.keys = true;
  walk.row = Math.min(Math.max(walk.row + move[0], 0), walk.rows - 1);
  walk.column = Math.min(Math.max(walk.column + move[1], 0), walk.columns - 1);
  clearTimeout(walk.timer);
  walk.timer = setTimeout(() => {  // the last of several quick presses
    const target = document.querySelector("#look-picture img"), { left, top, width, height } = target.getBoundingClientRect();
    const clientX = left + ((walk.column + 0.5) * width) / walk.columns, clientY = top + ((walk.row + 0.5) * height) / walk.rows;
    target.dispatchEvent(new MouseEvent("click", { bubbles: true, clientX, clientY }));
  }, 60);
});
