// Learn: a `?` beside the name of a control, or F1 on it, opens a panel with its concept: words, formula, paper, and one thing to try.
{
  const learn = { panel: null, from: null, wanted: null };
  const conceptOf = (element) => {
    for (let block = element?.closest?.("[id]"); block; block = block.parentElement?.closest("[id]")) {
      if (LEARN.of[block.id]) { return LEARN.of[block.id]; }
    }
    return null;
  };

  // The marks. A control is named by its label alone, the mark within has a name of its own.
  const mark = () => {
    for (const [id, concept] of Object.entries(LEARN.of)) {
      const name = document.getElementById(id)?.querySelector("[data-testid=block-info]");
      if (!name) { continue; }
      const input = name.closest("label")?.querySelector("input:not([aria-label]), textarea:not([aria-label]), [data-learn-named]");
      if (input && input.getAttribute("aria-label") !== name.textContent.trim()) {
        input.dataset.learnNamed = "";
        input.setAttribute("aria-label", name.textContent.trim());
      }
      if (name.querySelector(".learn-mark")) { continue; }
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "learn-mark" });
      button.dataset.concept = concept;
      button.setAttribute("aria-label", `Learn: ${LEARN.terms[concept]}`);
      button.tabIndex = -1;  // Tab goes on to the next control; by keyboard F1 on the control opens the same
      name.append(button);
    }
  };
  new MutationObserver(mark).observe(document, { subtree: true, childList: true, characterData: true });

  // The panel.
  const build = () => {
    const panel = document.createElement("dialog");
    panel.id = "learn";
    panel.setAttribute("aria-label", "Learn");
    panel.innerHTML = `
      <header><h2>Learn</h2><button type="button" class="gallery-key" data-learn="close">Close</button></header>
      <div class="learn-page"><p>Loading ...</p></div>
      <h4>All terms</h4>
      <input type="search" aria-label="Search the terms" placeholder="Search the terms" autocomplete="off">
      <ul class="learn-terms"></ul>
      <p class="learn-none" hidden>No term matches this search.</p>`;
    panel.querySelector("ul").replaceChildren(...Object.entries(LEARN.terms).map(([concept, term]) => {
      const item = document.createElement("li"), button = document.createElement("button");
      Object.assign(button, { type: "button", className: "gallery-key", textContent: term });
      button.dataset.concept = concept;
      item.append(button);
      return item;
    }));
    (document.querySelector("#tabs") ?? document.body).after(panel);
    document.getElementById("learn-fetch").click();
    new MutationObserver(fill).observe(document.querySelector("#learn-pages").parentElement, { subtree: true, childList: true });
    panel.querySelector("input").addEventListener("input", search);
    return panel;
  };
  const article = (concept) => document.querySelector(`#learn-pages [data-term="${concept}"]`);
  const fill = () => {  // once the words, and then the formulas, have come
    const place = learn.panel?.querySelector(".learn-page"), source = learn.wanted && article(learn.wanted);
    if (!place || !source) { return; }
    const there = place.querySelector("article");
    if (there?.dataset.term !== learn.wanted) {
      place.replaceChildren(source.cloneNode(true));
      if (learn.panel.open) { place.querySelector("h3").focus({ preventScroll: true }); }
      learn.panel.scrollTop = 0;
    }
    const formula = document.querySelectorAll("#learn-formulas .katex-display")[Object.keys(LEARN.terms).indexOf(learn.wanted)];
    const space = place.querySelector(".learn-formula");
    if (formula && !space.firstChild) {
      space.append(formula.cloneNode(true));
      const fit = space.clientWidth / space.scrollWidth;  // a long one is drawn smaller, as far as it can be read; beyond that it scrolls
      if (fit < 1) { space.style.fontSize = `${Math.max(0.75, 0.93 * fit)}em`; }
    }
  };
  const search = () => {
    const words = learn.panel.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    const items = [...learn.panel.querySelectorAll(".learn-terms li")];
    items.forEach((item) => {
      const text = `${item.textContent} ${article(item.firstChild.dataset.concept)?.textContent ?? ""}`.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
    });
    learn.panel.querySelector(".learn-none").hidden = items.some((item) => !item.hidden);
  };
  const openLearn = (concept, from) => {
    learn.panel ??= build();
    if (from) { learn.from = from; }
    learn.wanted = concept ?? learn.wanted ?? Object.keys(LEARN.terms)[0];
    if (!learn.panel.open) { learn.panel.show(); }
    learn.panel.querySelectorAll(".learn-terms button").forEach((button) => {
      button.setAttribute("aria-current", String(button.dataset.concept === learn.wanted));
    });
    learn.panel.querySelector(".learn-page article")?.querySelector("h3").focus({ preventScroll: true });
    fill();
  };
  const closeLearn = () => {
    learn.panel.close();
    learn.from?.focus({ preventScroll: true });
  };
  window.addEventListener("keydown", (event) => {
    if (event.key === "F1" && !event.ctrlKey && !event.altKey && !event.metaKey && !document.querySelector("dialog:modal")) {
      event.preventDefault();
      hideHelp();
      openLearn(conceptOf(event.target), learn.panel?.contains(event.target) ? null : event.target);
    } else if (event.key === "Escape" && learn.panel?.open && !document.querySelector("dialog:modal")) {
      event.preventDefault();
      event.stopPropagation();  // it would stop a run, too
      closeLearn();
    } else if (event.key === "Enter" && event.target.matches?.("#learn input")) {
      event.stopPropagation();  // it would start a run
    }
  }, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".learn-mark, #learn [data-concept], #learn [data-learn]");
    if (button?.matches(".learn-mark")) {
      event.preventDefault();
      hideHelp();
      openLearn(button.dataset.concept, button);
    } else if (button?.dataset.concept) {
      openLearn(button.dataset.concept);
    } else if (button) {
      closeLearn();
    } else if (event.key === "Enter" && event.target.matches?.("#learn input")) {
      event.stopPropagation();  // it would start a run
    }
  }, true);
}
