// The gallery of results of a tab: small pictures that load once they are seen, a search, several selected, and one large in a dialog.
{
  const KINDS = ["", "video-"];
  const views = new Map();  // by the beginning of the ids of a tab
  const part = (view, name) => document.getElementById(`${view.prefix}history`)?.querySelector(name);
  const address = (view, file) => `${window.gradio_config.root.replace(/\/$/, "")}${window.gradio_config.api_prefix ?? "/gradio_api"}/file=`
    + encodeURI(`${view.folder}/${file}`).replace(/[?#]/g, encodeURIComponent);
  const named = (one) => (one.seed === undefined || one.seed === null ? one.name : `${one.name}, ${one.model}, seed ${one.seed}`);

  // One small picture, with its box to select it. It is made once, and moved when the list changes.
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { target.src = target.dataset.source; seen.unobserve(target); }
    }
  }, { rootMargin: "120px" });
  const place = (view, one) => {
    const item = document.createElement("li");
    item.innerHTML = `<button type="button" tabindex="-1"><img alt="" width="96" height="96"><span></span></button><label><input type="checkbox" tabindex="-1"></label>`;
    item.dataset.file = one.file;
    item.querySelector("button").setAttribute("aria-label", named(one));
    item.querySelector("input").setAttribute("aria-label", `Select ${named(one)}`);
    item.querySelector("span").textContent = one.name;
    const image = item.querySelector("img");
    image.dataset.source = address(view, one.small);
    seen.observe(image);
    return item;
  };
  const words = (one, item) => `${one.name} ${one.model} ${one.seed} ${item.textContent}`.toLowerCase();
  const shown = (view) => [...view.items].filter(([, item]) => !item.hidden).map(([file]) => file);

  // The list came anew: what is there already stays as it is.
  const read = (view) => {
    const list = document.querySelector(`#${view.prefix}history-list [data-results]`), grid = part(view, ".gallery-grid");
    if (!list || !grid || (list.dataset.results === view.read && grid === view.grid)) { return; }
    Object.assign(view, { read: list.dataset.results, grid, folder: list.dataset.folder });
    const results = JSON.parse(view.read), before = view.items;
    view.results = new Map(results.map((one) => [one.file, one]));
    view.items = new Map(results.map((one) => [one.file, before.get(one.file) ?? place(view, one)]));
    view.chosen = new Set([...view.chosen].filter((file) => view.items.has(file)));
    grid.replaceChildren(...view.items.values());
    filter(view);
  };
  const filter = (view) => {
    const wanted = part(view, "input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    view.items.forEach((item, file) => {
      const text = words(view.results.get(file), item);
      item.hidden = !wanted.every((word) => text.includes(word));
    });
    const some = shown(view);
    const all = view.items.size, number = all === 1 ? "1 result" : `${all} results`;
    part(view, ".gallery-count").textContent = some.length === all ? number : `${some.length} of ${all} results`;
    part(view, ".gallery-none").hidden = some.length > 0;
    part(view, "[data-do=all]").disabled = !some.length;
    reach(view, some.includes(view.at) ? view.at : some[0]);
    tick(view);
  };
  const tick = (view) => {
    view.items.forEach((item, file) => { item.querySelector("input").checked = view.chosen.has(file); });
    part(view, ".gallery-chosen").hidden = !view.chosen.size;
    part(view, ".gallery-number").textContent = `${view.chosen.size} selected`;
    part(view, ".gallery-doubt").hidden = true;
  };
  const reach = (view, file) => {  // Tab stops at one place of the grid alone, the arrow keys move it
    for (const one of [view.at, file]) {
      view.items.get(one)?.querySelectorAll("button, input").forEach((stop) => { stop.tabIndex = one === file ? 0 : -1; });
    }
    view.at = file;
  };
  const choose = (view, file, range) => {
    const some = shown(view), [from, to] = [some.indexOf(view.last), some.indexOf(file)].sort((a, b) => a - b), on = !view.chosen.has(file);
    const files = range && from >= 0 ? some.slice(from, to + 1) : [file];
    files.forEach((one) => (on ? view.chosen.add(one) : view.chosen.delete(one)));
    view.last = file;
    tick(view);
  };

  // What the server is asked for, by a button that is not seen: it fetches the names here.
  const ask = (view, what, files) => {
    view.asked = files.join("\n");
    document.getElementById(`${view.prefix}history-${what}`).click();
  };
  window.chosenResults = (prefix) => views.get(prefix).asked;
  window.saveResult = (file) => {
    if (!file) { return; }
    const link = document.createElement("a");
    link.href = `${address([...views.values()].find((view) => view.folder), file)}?${Date.now()}`;  // the name is always the same
    link.download = file.split("/").at(-1);
    link.click();
  };
  const viewOf = (element) => KINDS.map((prefix) => views.get(prefix)).find((view) => element.closest?.(`#${view.prefix}history`));
  const deeds = {
    all: (view) => { shown(view).forEach((file) => view.chosen.add(file)); tick(view); },
    none: (view) => { view.chosen.clear(); tick(view); part(view, "input[type=search]").focus(); },
    pack: (view) => ask(view, "pack", [...view.chosen]),
    doubt: (view) => { part(view, ".gallery-doubt").hidden = false; part(view, "[data-do=keep]").focus(); },
    keep: (view) => { part(view, ".gallery-doubt").hidden = true; part(view, "[data-do=doubt]").focus(); },
    delete: (view) => { ask(view, "delete", [...view.chosen]); part(view, ".gallery-doubt").hidden = true; part(view, "input[type=search]").focus(); },
  };
  document.addEventListener("click", (event) => {
    const view = viewOf(event.target), item = event.target.closest?.(".gallery-grid li");
    if (!view) { return; }
    const deed = event.target.closest("[data-do]")?.dataset.do;
    if (deed) {
      deeds[deed](view);
    } else if (event.target.matches(".gallery-grid input")) {
      choose(view, item.dataset.file, event.shiftKey);
    } else if (item && event.target.closest("button")) {
      if (event.shiftKey) { choose(view, item.dataset.file, true); } else { open(view, item.dataset.file); }
    }
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches(".gallery-tools input")) { filter(viewOf(event.target)); }
  });
  document.addEventListener("keydown", (event) => {  // Enter in a box of the gallery starts no run
    if (event.key === "Enter" && event.target.matches?.(".history input")) { event.stopPropagation(); }
  }, true);
  const turns = (grid, key) => {
    const across = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    return { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -Infinity, End: Infinity }[key];
  };
  document.addEventListener("keydown", (event) => {
    const item = event.target.closest?.(".gallery-grid li"), view = item && viewOf(item);
    const move = view && turns(view.grid, event.key);
    if (!move || event.ctrlKey || event.metaKey || event.altKey) { return; }
    event.preventDefault();
    const some = shown(view), at = some.indexOf(item.dataset.file) + move;
    const file = some[Math.abs(move) === Infinity ? (move < 0 ? 0 : some.length - 1) : at];
    if (file) { reach(view, file); view.items.get(file).querySelector(event.target.localName).focus(); }
  });

  // One result, large. The dialog keeps the focus, and gives it back.
  const large = { dialog: null, view: null, file: null, from: null };
  const build = () => {
    const dialog = document.createElement("dialog");
    dialog.id = "lightbox";
    dialog.setAttribute("aria-label", "One result, large");
    dialog.innerHTML = `
      <div class="lightbox-stage">
        <button type="button" data-turn="-1" aria-label="Previous result">‹</button>
        <div class="lightbox-picture"></div>
        <button type="button" data-turn="1" aria-label="Next result">›</button>
      </div>
      <p class="lightbox-place" role="status"></p>
      <dl class="facts"></dl>
      <div class="lightbox-deeds">
        <button type="button" data-deed="use" class="gallery-key lightbox-first" autofocus>Use its settings</button>
        <a class="gallery-key" download>Download</a>
        <button type="button" data-deed="inside" class="gallery-key">Look inside</button>
        <button type="button" data-deed="close" class="gallery-key">Close</button>
      </div>`;
    (document.querySelector(".gradio-container .contain") ?? document.body).append(dialog);  // styles for phones hold in there alone
    dialog.addEventListener("keydown", (event) => {
      event.stopPropagation();  // Escape would stop a run, too
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (move && !event.target.matches("video")) { event.preventDefault(); turn(move); }
    });
    dialog.addEventListener("click", (event) => {
      const { turn: move, deed } = event.target.dataset;
      if (move) { turn(Number(move)); }
      if (deed === "use" || deed === "inside") {
        ask(large.view, deed, [large.file]);
        document.getElementById(`${large.view.prefix}facts`)?.closest(".tab")?.scrollIntoView({ block: "start" });
      }
      if (deed || event.target === dialog) { dialog.close(); }
    });
    dialog.addEventListener("close", () => {
      dialog.querySelector(".lightbox-picture").replaceChildren();  // a video would play on
      const item = large.view.items.get(large.file);
      if (item && !item.hidden) { reach(large.view, large.file); item.querySelector("button").focus({ preventScroll: true }); }
    });
    const stage = dialog.querySelector(".lightbox-stage");
    stage.addEventListener("pointerdown", (event) => { large.from = event.pointerType === "mouse" ? null : event.clientX; });
    stage.addEventListener("pointerup", (event) => {
      const way = large.from === null ? 0 : event.clientX - large.from;
      large.from = null;
      if (Math.abs(way) > 40) { turn(way < 0 ? 1 : -1); }
    });
    return dialog;
  };
  const picture = (view, one) => {
    const film = one.file.endsWith(".mp4"), element = document.createElement(film ? "video" : "img");
    if (film) {
      const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      Object.assign(element, { controls: true, loop: true, muted: true, playsInline: true, autoplay: !still });
      element.setAttribute("aria-label", named(one));
    } else {
      element.alt = named(one);
      element.draggable = false;
    }
    element.src = address(view, one.file);
    return element;
  };
  const facts = (one) => {
    const made = new Date(one.made), date = one.made && !Number.isNaN(+made) ? made.toLocaleString(document.documentElement.lang || undefined, { dateStyle: "medium", timeStyle: "short" }) : "";
    const rows = { Model: one.model, [one.prompt ? "Prompt" : "Class"]: one.name, Seed: one.seed, Steps: one.steps, Solver: one.solver, Guidance: one.guidance, Made: date };
    return Object.entries(rows).filter(([, value]) => value !== undefined && value !== null && value !== "").flatMap(([name, value]) => {
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      Object.assign(term, { textContent: name });
      Object.assign(text, { textContent: value });
      return [term, text];
    });
  };
  const open = (view, file) => {
    const { dialog } = Object.assign(large, { dialog: large.dialog ?? build(), view, file });
    const one = view.results.get(file), some = shown(view), at = some.indexOf(file);
    dialog.querySelector(".lightbox-picture").replaceChildren(picture(view, one));
    dialog.querySelector("dl").replaceChildren(...facts(one));
    dialog.querySelector(".lightbox-place").textContent = `${at + 1} of ${some.length}`;
    dialog.querySelectorAll("[data-turn]").forEach((button) => { button.disabled = !some[at + Number(button.dataset.turn)]; });
    Object.assign(dialog.querySelector("a"), { href: address(view, file), download: file.split("/").at(-1) });
    if (!dialog.open) { dialog.showModal(); }
    [some[at + 1], some[at - 1]].forEach((next) => { if (next && !next.endsWith(".mp4")) { new Image().src = address(view, next); } });
  };
  const turn = (move) => {
    const some = shown(large.view), at = some.indexOf(large.file) + move;
    const file = some[Math.abs(move) === Infinity ? (move < 0 ? 0 : some.length - 1) : at];
    if (file && file !== large.file) { open(large.view, file); }
  };

  KINDS.forEach((prefix) => views.set(prefix, { prefix, items: new Map(), results: new Map(), chosen: new Set() }));
  new MutationObserver(() => views.forEach(read)).observe(document, { subtree: true, childList: true, attributeFilter: ["data-results"] });
}
