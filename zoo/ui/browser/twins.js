// The twin of an English text, from a table {English: twin}: the text itself; a pattern, in which {} stands for whatever is there, which
// is looked up as well; or its parts, where they have twins. Null where nothing of it has one.
const twins = { exact: new Map(), patterns: new Map(), wordless: [], known: new Map(), most: 5000, longest: 3000 };
const PLAIN = /^(?:[^A-Za-z]|\bx\b)*$/;  // numbers, and sizes such as 8 x 8
const HOLE = /\{\d*\}/g;
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const wordsOf = (text) => text.match(/[A-Za-z]+/g) ?? [];

// A pattern is found by its rarest word, so that a text is tried against few. A word that touches a hole may be longer there.
const learnTwins = (table) => {
  const patterns = [], count = new Map();
  for (const [english, twin] of Object.entries(table)) {
    const parts = english.split("{}");
    if (parts.length === 1) { twins.exact.set(english, twin); continue; }
    const whole = wordsOf(parts.map((part, k) => part.replace(k ? /^[A-Za-z]+/ : "", "").replace(k < parts.length - 1 ? /[A-Za-z]+$/ : "", "")).join(" "));
    const letters = wordsOf(parts.join(" ")).join("").length;  // with few of them it is meant for numbers, or for one name
    const pattern = { test: new RegExp(`^${parts.map(escaped).join("(.+?)")}$`, "s"), twin, letters, open: parts[0] === "", words: new Set(whole) };
    pattern.words.forEach((word) => count.set(word, (count.get(word) ?? 0) + 1));
    patterns.push(pattern);
  }
  patterns.sort((one, other) => other.letters - one.letters);  // what says most of the text comes first
  for (const pattern of patterns) {
    const [rarest] = [...pattern.words].sort((one, other) => count.get(one) - count.get(other));
    if (rarest === undefined) { twins.wordless.push(pattern); continue; }
    twins.patterns.set(rarest, [...(twins.patterns.get(rarest) ?? []), pattern]);
  }
};

const CHINESE_GAP = /(?<=[\u3001-\u9fff\uff01-\uff1f]) (?=[\u3001-\u9fff\uff01-\uff1f])/g;  // which a name in English would have needed
const filled = (pattern, holes) => {
  let next = 0;
  return pattern.twin.replace(HOLE, (hole) => {
    const index = hole === "{}" ? next++ : Number(hole.slice(1, -1)) - 1, content = holes[index];
    return twinOf(content) ?? content;
  }).replace(CHINESE_GAP, "");
};
// First only patterns whose holes hold one thing each; what is joined by these is taken apart before it may lie in a hole.
const JOINED = / \u00b7 |; |[.!?] /, LISTED = /[,;:] |[.!?] | \u00b7 /;
const fits = (pattern, holes, simple) => holes.every((hole, k) => (
  (pattern.letters >= (pattern.open && k === 0 ? 8 : 4) || PLAIN.test(hole)) && (pattern.letters >= 8 || !LISTED.test(hole)) && !(simple && JOINED.test(hole))));
const byPattern = (text, simple) => {
  const found = [...new Set(wordsOf(text))].flatMap((word) => twins.patterns.get(word) ?? []).sort((one, other) => other.letters - one.letters);
  for (const pattern of [...found, ...twins.wordless]) {
    const match = pattern.test.exec(text);
    if (match && fits(pattern, match.slice(1), simple)) { return filled(pattern, match.slice(1)); }
  }
  return null;
};

// Parts of a text that the page puts together, each way with how its twin is put together; null where no part has a twin, or not every one.
const several = (parts, joined, every = false) => {
  const found = parts.length > 1 ? parts.map((part) => twinOf(part)) : [];
  return found.length && found[every ? "every" : "some"]((twin) => twin !== null) ? joined(found.map((twin, k) => twin ?? parts[k]), found) : null;
};
const CLOSED = /[\u3001\u3002\uff01\uff1a\uff1b\uff1f]$/;
const run = (sentences) => sentences.reduce((said, next) => `${said}${!said || CLOSED.test(said) ? "" : " "}${next}`, "");
const bySentences = (text) => {
  const sentences = text.split(/(?<=[.!?])\s+(?=\S)/), said = [];
  if (sentences.length < 2 || sentences.length > 24) { return null; }
  let found = false;
  for (let from = 0; from < sentences.length;) {
    let to = Math.min(sentences.length, from + 4), twin = null;
    for (; to > from; to -= 1) {  // several may stand in the table as one
      const piece = sentences.slice(from, to).join(" ");
      twin = to - from === sentences.length ? null : to - from === 1 ? twinOf(piece) : twins.exact.get(piece) ?? byPattern(piece, true);
      if (twin !== null) { break; }
    }
    said.push(twin ?? sentences[from]);
    found ||= twin !== null;
    from = twin === null ? from + 1 : to;
  }
  return found ? run(said) : null;
};
const NAMELIKE = /^[^.]{1,24}$|^[\d.]+$/;  // short enough to be a name, which needs no twin
const colons = (parts) => parts.join("：");
const byParts = (text) => {
  const list = text.split(", "), bracket = /^(.+?) \((.+)\)([.,]?)$/s.exec(text), colon = /^(.{1,80}?): (.+)$/s.exec(text);
  return several(text.split(" · "), (parts) => parts.join(" · "))
    ?? (colon && several(colon.slice(1), colons, true))
    ?? bySentences(text)
    ?? several(text.split("; "), (parts) => parts.join("；"))
    ?? (colon && several(colon.slice(1), colons))
    ?? (bracket && several(bracket.slice(1, 3), ([name, rest]) => `${name}（${rest}）${bracket[3] === "." ? "。" : ""}`))
    ?? several(text.split(" / "), (parts) => parts.join(" / "))
    ?? several(list, (parts, found) => (found.every((twin, k) => twin !== null || NAMELIKE.test(list[k])) ? parts.join(/\d/.test(text) ? "，" : "、") : null));
};

const twinOf = (text) => {
  const plain = text.trim().replace(/\s+/g, " ");
  if (!plain || plain.length > twins.longest || PLAIN.test(plain)) { return null; }
  if (!twins.known.has(plain)) {
    if (twins.known.size >= twins.most) { twins.known.clear(); }
    twins.known.set(plain, null);  // a text is no part of itself
    twins.known.set(plain, twins.exact.get(plain) ?? byPattern(plain, true) ?? byParts(plain) ?? byPattern(plain, false));
  }
  return twins.known.get(plain);
};
