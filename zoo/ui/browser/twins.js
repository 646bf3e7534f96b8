// The twin of an English text, from a table {English: twin}: the text itself; a pattern, in which {} stands for whatever is there, which
// is looked up as well; or its parts, where they have twins. Null where nothing of it has one.
const twins = { exact: new Map(), patterns: new Map(), wordless: [], known: new Map(), most: 5000, longest: 3000 };
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
    const pattern = { test: new RegExp(`^${parts.map(escaped).join("(.+?)")}$`, "s"), twin, fixed: parts.join("").length, words: new Set(whole) };
    pattern.words.forEach((word) => count.set(word, (count.get(word) ?? 0) + 1));
    patterns.push(pattern);
  }
  patterns.sort((one, other) => other.fixed - one.fixed);  // what says most of the text comes first
  for (const pattern of patterns) {
    const [rarest] = [...pattern.words].sort((one, other) => count.get(one) - count.get(other));
    if (rarest === undefined) { twins.wordless.push(pattern); continue; }
    twins.patterns.set(rarest, [...(twins.patterns.get(rarest) ?? []), pattern]);
  }
};

const filled = (pattern, holes) => {
  let next = 0;
  return pattern.twin.replace(HOLE, (hole) => {
    const index = hole === "{}" ? next++ : Number(hole.slice(1, -1)) - 1, content = holes[index];
    return twinOf(content) ?? content;
  });
};
const byPattern = (text) => {
  const found = [...new Set(wordsOf(text))].flatMap((word) => twins.patterns.get(word) ?? []).sort((one, other) => other.fixed - one.fixed);
  for (const pattern of [...found, ...twins.wordless]) {
    const match = pattern.test.exec(text);
    if (match) { return filled(pattern, match.slice(1)); }
  }
  return null;
};

// Parts of a text that the page puts together, each way with how its twin is put together; null where no part has a twin.
const several = (parts, joined) => {
  const found = parts.length > 1 ? parts.map((part) => twinOf(part)) : [];
  return found.some((twin) => twin !== null) ? joined(found.map((twin, k) => twin ?? parts[k]), found) : null;
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
      twin = to - from === sentences.length ? null : to - from === 1 ? twinOf(piece) : twins.exact.get(piece) ?? byPattern(piece);
      if (twin !== null) { break; }
    }
    said.push(twin ?? sentences[from]);
    found ||= twin !== null;
    from = twin === null ? from + 1 : to;
  }
  return found ? run(said) : null;
};
const PLAIN = /^[^A-Za-z]*$/;
const byParts = (text) => {
  const list = text.split(", "), bracket = /^(.+?) \((.+)\)([.,]?)$/s.exec(text), colon = /^(.{1,80}?): (.+)$/s.exec(text);
  return several(text.split(" · "), (parts) => parts.join(" · "))
    ?? bySentences(text)
    ?? several(text.split("; "), (parts) => parts.join("；"))
    ?? (colon && several(colon.slice(1), (parts) => parts.join("：")))
    ?? (bracket && several(bracket.slice(1, 3), ([name, rest]) => `${name}（${rest}）${bracket[3] === "." ? "。" : ""}`))
    ?? several(list, (parts, found) => (found.every((twin, k) => twin !== null || PLAIN.test(list[k])) ? parts.join(/\d/.test(text) ? "，" : "、") : null));
};

const twinOf = (text) => {
  const plain = text.trim().replace(/\s+/g, " ");
  if (!plain || plain.length > twins.longest || PLAIN.test(plain)) { return null; }
  if (!twins.known.has(plain)) {
    if (twins.known.size >= twins.most) { twins.known.clear(); }
    twins.known.set(plain, null);  // a text is no part of itself
    twins.known.set(plain, twins.exact.get(plain) ?? byPattern(plain) ?? byParts(plain));
  }
  return twins.known.get(plain);
};
