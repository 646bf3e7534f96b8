// Stories: a card, Next or an address sets every control on the server (arrival.py); then the run is started by the tab's own button.
const story = { open: null, turn: "", asked: 0, pressing: false };  // open: given by the row of cards once it stands there
const STORY_WORDS = {
  started: "The controls are set, and the run has started.",
  ended: "The run has ended: change any control and start it again.",
  open: "The controls are set: change any of them.",
};
const storyPanel = () => document.querySelector("#story section:not([hidden])");
const storyWait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
const storyUntil = async (asked, condition, seconds) => {  // what the condition finds; null when it is too late, or another story was asked for
  for (let tries = 10 * seconds; tries > 0 && asked === story.asked; tries -= 1) {
    const found = condition();
    if (found) { return found; }
    await storyWait(100);
  }
  return null;
};
const storyButton = (selector) => { const button = document.querySelector(selector); return visible(button) && !button.disabled ? button : null; };
const storyLink = (id) => {
  const query = new URLSearchParams([...new URLSearchParams(location.search)].filter(([name]) => name.startsWith("__")));
  query.set("story", id);
  return `${location.pathname}?${query}`;
};
const askStory = (id) => {
  story.asked += 1;  // whatever an earlier story still waits for is over
  address.story = id;
  story.open(id);
};
const startStory = async () => {  // called by gradio when an address, or a story that was asked for, has been answered
  const panel = storyPanel();
  if (!panel || panel.dataset.turn === story.turn) { return; }
  const { id, turn, go, mark, value, then } = panel.dataset, asked = (story.asked += 1);
  Object.assign(story, { turn });
  address.story = id;
  if (new URLSearchParams(location.search).get("story") !== id) { history.pushState(null, "", storyLink(id)); }
  panel.querySelector("h2").focus({ preventScroll: true });
  panel.scrollIntoView({ block: "start" });
  const say = (words) => { if (asked === story.asked) { panel.querySelector("[role=status]").textContent = words; } };
  if (!go) { say(STORY_WORDS.open); return; }
  const ready = await storyUntil(asked, () => document.querySelector(mark)?.value === value && storyButton(go), 60);
  if (!ready) { return; }
  await storyWait(200);  // what the other controls were told is there, too
  if (asked !== story.asked) { return; }
  const busy = storyBusy(go);
  story.pressing = true;  // so that a phone stays where the panel and the result are both seen
  ready.click();
  story.pressing = false;
  say(STORY_WORDS.started);
  if (!await busy || !await storyUntil(asked, () => storyButton(go), 600)) { return; }
  say(STORY_WORDS.ended);
  const jump = panel.querySelector("[data-jump]")?.dataset.jump;
  if (jump && then !== "[]") { unfold(jump); }
  for (const [selector, values] of JSON.parse(then)) { await storyStep(asked, selector, values.split(" ").filter(Boolean)); }
};
const storyBusy = (go) => new Promise((done) => {  // whether the button goes away, as it does while something runs, were it for a moment
  const watch = new MutationObserver(() => { if (!storyButton(go)) { watch.disconnect(); done(true); } });
  watch.observe(document.querySelector(go).parentElement, { attributes: true, childList: true, subtree: true });
  setTimeout(() => { watch.disconnect(); done(false); }, 60000);
});
const storyStep = async (asked, selector, values) => {  // what a story does after its run
  const part = await storyUntil(asked, () => storyButton(selector), 30);
  if (part && !values.length) { part.click(); }
  for (const value of part ? (storyCalm() ? values.slice(0, 1) : values) : []) {
    if (asked !== story.asked) { return; }
    part.value = value;
    part.dispatchEvent(new Event("input", { bubbles: true }));
    await storyWait(1500);
  }
};
const storyCalm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const closeStory = () => {
  const panel = storyPanel();
  if (!panel) { return; }
  panel.hidden = true;
  story.asked += 1;
  leaveStory();
  history.replaceState(null, "", link(address.tab, address.words[address.tab]));
  const card = document.querySelector(`#story-cards [data-story="${panel.dataset.id}"]`);
  (visible(card) ? card : document.querySelector("#stories-fold"))?.focus();
};
const leaveStory = () => { address.story = null; };
const returnToStory = () => {  // Back or Forward led here: to a story, which is told again, or away from one
  const id = new URLSearchParams(location.search).get("story");
  if (id && story.open) { askStory(id); return true; }
  const panel = storyPanel();
  if (panel) { panel.hidden = true; story.asked += 1; leaveStory(); }
  return false;
};
const unfold = (selector) => { document.querySelector(`${selector} > .label-wrap:not(.open)`)?.click(); };
const jumpTo = (selector) => {
  unfold(selector);
  setTimeout(() => {
    const place = document.querySelector(selector), above = place?.closest("#look") ? document.querySelector("#look-view").offsetHeight : 0;
    const top = place && place.getBoundingClientRect().top - above - 12;  // on that tab the pictures stay on top of what scrolls
    if (place) { window.scrollBy({ top, behavior: storyCalm() ? "auto" : "smooth" }); }
  }, 300);
};
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-story]"), jump = event.target.closest("[data-jump]");
  if (opener) { askStory(opener.dataset.story); }
  if (jump) { jumpTo(jump.dataset.jump); }
  if (event.target.closest("#story-close")) { closeStory(); }
  if (event.target.closest("#story-link")) { copy(new URL(storyLink(storyPanel().dataset.id), location.href).href, "#story-link"); }
  if (event.target.closest("#stories-fold")) { foldStories(document.querySelector("#story-cards").hidden); }
});
document.addEventListener("keydown", (event) => {
  const elsewhere = event.target.closest("input, textarea, dialog, [role=dialog], #gallery");  // which Escape closes, or empties, first
  if (event.key === "Escape" && !elsewhere && ![...document.querySelectorAll("button.halt")].some(visible)) { closeStory(); }
});
["pointerdown", "keydown"].forEach((kind) => window.addEventListener(kind, (event) => {  // from here on the address is the tab's again
  if (event.isTrusted && event.target.closest?.(".controls, [role=tab]")) { leaveStory(); }
}, true));

// The row of cards stays as somebody left it: open, or folded.
const FOLDED = "patchwork-stories-folded";
const foldStories = (open) => {
  document.querySelector("#story-cards").hidden = !open;
  document.querySelector("#stories-fold").setAttribute("aria-expanded", open);
  try { localStorage.setItem(FOLDED, open ? "" : "yes"); } catch { /* not allowed: then they are open next time */ }
};
const storiesAsLeft = new MutationObserver(() => {
  if (!document.querySelector("#story-cards")) { return; }
  storiesAsLeft.disconnect();
  try { if (localStorage.getItem(FOLDED)) { foldStories(false); } } catch { /* as above */ }
});
storiesAsLeft.observe(document, { subtree: true, childList: true });
