// The page in Chinese: its English text is replaced where it stands, by a table that is fetched once, and what comes later as it comes.
// What stood there is remembered, so that English is back at once. Gradio itself speaks English always: its words are in the table, too.
const LANGUAGE_KEY = "patchwork-language", CHINESE = "zh-CN";
const firstAnswer = window.firstLanguage ?? { wanted: "en", table: null };  // of first.js, which ran before gradio
const language = {
  now: "en", wanted: firstAnswer.wanted, table: null,
  texts: new WeakMap(),  // text node -> { english, twin }
  attributes: new WeakMap(),  // element -> { name: { english, twin } }
};

const SPOKEN = ["aria-label", "aria-description", "placeholder", "title", "alt"];
const UNTOUCHED = "textarea, code, pre, kbd, script, style, .katex, [lang]:not(html), [translate=no], .json-holder";
const untouched = (element) => element?.closest(UNTOUCHED);
const around = (text, twin) => text.replace(/^(\s*)[^]*?(\s*)$/, (_, before, after) => before + twin + after);

// What a node or an attribute says in Chinese; what it says already stays, and what somebody has written there since is new English.
const twinFor = (kept, text) => {
  if (kept && kept.twin === text) { return kept; }
  const twin = twinOf(text);
  return twin === null ? null : { english: text, twin: around(text, twin) };
};
const translateText = (node) => {
  const said = twinFor(language.texts.get(node), node.data);
  if (!said) { language.texts.delete(node); return; }
  language.texts.set(node, said);
  if (node.data !== said.twin) { node.data = said.twin; }
};
const translateAttribute = (element, name) => {
  const text = element.getAttribute(name), kept = language.attributes.get(element) ?? {};
  const said = text && twinFor(kept[name], text);
  if (!said) { delete kept[name]; return; }
  language.attributes.set(element, { ...kept, [name]: said });
  if (text !== said.twin) { element.setAttribute(name, said.twin); }
};
// Every text node and every spoken attribute in and below a node.
const eachSpoken = (root, onText, onAttribute, onChoice = () => {}) => {
  if (root.nodeType === Node.TEXT_NODE) { if (root.parentElement && !untouched(root.parentElement)) { onText(root); } return; }
  if (root.nodeType !== Node.ELEMENT_NODE || untouched(root.parentElement)) { return; }
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) => {
    if (node.nodeType === Node.TEXT_NODE) { return NodeFilter.FILTER_ACCEPT; }
    return node.matches(UNTOUCHED) && !node.matches("textarea") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT;
  });
  for (let node = walker.currentNode; node; node = walker.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) { if (!node.parentElement.matches("textarea")) { onText(node); } continue; }
    if (node === root && node.matches(UNTOUCHED) && !node.matches("textarea")) { return; }
    if (node.tagName === "INPUT" && node.matches(CHOICES)) { onChoice(node); }
    for (const name of SPOKEN) { if (node.hasAttribute(name)) { onAttribute(node, name); } }
  }
};
const translate = (root) => eachSpoken(root, translateText, translateAttribute, showChoice);
const restore = (root) => eachSpoken(root,
  (node) => { const kept = language.texts.get(node); if (kept && node.data === kept.twin) { node.data = kept.english; } },
  (element, name) => {
    const kept = language.attributes.get(element)?.[name];
    if (kept && element.getAttribute(name) === kept.twin) { element.setAttribute(name, kept.english); }
  }, showChoice);

// What a list shows as chosen lies in its input: seen in Chinese, and read by every script as it was written.
const CHOICES = "input[role=combobox], input[role=listbox]", inputValue = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
const showChoice = (input) => {
  if (!Object.hasOwn(input, "value")) {
    let kept = null;
    Object.defineProperty(input, "value", {
      configurable: true,
      get: () => { const text = inputValue.get.call(input); return kept?.twin === text ? kept.english : text; },
      set: (text) => {
        const twin = said(text);
        kept = twin === text ? null : { english: text, twin };
        inputValue.set.call(input, twin);
      },
    });
  }
  const chosen = input.value;
  if (said(chosen) !== inputValue.get.call(input)) { input.value = chosen; }
};

const arrivals = new MutationObserver((changes) => {
  for (const { type, target, attributeName, addedNodes } of changes) {
    if (type === "childList") { addedNodes.forEach((node) => { if (node.isConnected) { translate(node); } }); }
    else if (type === "characterData") { if (target.isConnected) { translate(target); } }
    else if (!untouched(target.parentElement) && (!untouched(target) || target.matches("textarea"))) { translateAttribute(target, attributeName); }
  }
  arrivals.takeRecords();  // its own changes
});

// A sentence that a script is about to show, and what stands in an element in English, whatever is seen there.
const said = (text) => (language.now === CHINESE && twinOf(text)) || text;
const inEnglish = (element) => {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let text = "";
  while (walker.nextNode()) {
    const kept = language.texts.get(walker.currentNode), { data } = walker.currentNode;
    text += kept && kept.twin === data ? kept.english : data;
  }
  return text;
};

const fetchTable = async () => {
  const answer = await (firstAnswer.table ?? fetch(TABLES[CHINESE]));
  firstAnswer.table = null;
  if (!answer.ok) { throw new Error(`${answer.status}`); }
  learnTwins(await answer.json());
};
const speak = async (wanted) => {
  language.wanted = wanted;
  if (wanted === CHINESE) {
    language.table ??= fetchTable();
    try {
      await language.table;
    } catch {  // the page stays English, and the next press of the switch asks again
      language.table = null;
      return false;
    }
    if (language.wanted !== CHINESE) { return true; }
  }
  if (wanted === language.now) { return true; }
  language.now = wanted;
  document.documentElement.lang = wanted;
  hideHelp();
  if (wanted === CHINESE) {
    translate(document.documentElement);
    arrivals.observe(document, { subtree: true, childList: true, characterData: true, attributeFilter: SPOKEN });
  } else {
    arrivals.disconnect();
    restore(document.documentElement);
  }
  window.dispatchEvent(new Event("resize"));  // gradio counts again how many tabs fit beside each other
  return true;
};
if (language.wanted === CHINESE) { queueMicrotask(() => speak(CHINESE)); }
document.addEventListener("click", async (event) => {
  if (!event.target.closest("#language")) { return; }
  const wanted = language.now === CHINESE ? "en" : CHINESE;
  if (!await speak(wanted)) { window.alert("The Chinese text of this page did not arrive: try again when the server answers."); return; }
  try { localStorage.setItem(LANGUAGE_KEY, wanted); } catch { /* it holds until the page is left */ }
});
