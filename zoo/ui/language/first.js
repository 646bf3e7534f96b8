// Before gradio starts: which language this page speaks, and its table asked for. Gradio itself is told that the browser speaks English,
// so that all of its words are those that the table knows.
window.firstLanguage = { wanted: /^zh\b/i.test(navigator.language ?? "") ? "zh-CN" : "en", table: null };
try { firstLanguage.wanted = localStorage.getItem("patchwork-language") ?? firstLanguage.wanted; } catch { /* a browser that keeps nothing */ }
for (const [name, value] of [["language", "en"], ["languages", ["en"]]]) { Object.defineProperty(navigator, name, { get: () => value, configurable: true }); }
if (firstLanguage.wanted === "zh-CN") { firstLanguage.table = fetch("TABLE"); firstLanguage.table.catch(() => {}); }
