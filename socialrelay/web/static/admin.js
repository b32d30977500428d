/* Keeps the page of events up to date. Without it the page shows what there was when it was made. */
"use strict";

(() => {
  const body = document.getElementById("events");
  if (!body || !window.EventSource) return;

  const symbols = { info: ["quiet", "i"], warn: ["warm", "!"] };
  const live = document.getElementById("live");
  const kept = Number(body.dataset.kept);
  let last = Number(body.dataset.last);

  const element = (name, className, text, label) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text) made.textContent = text;
    if (label) made.dataset.label = label;
    return made;
  };

  const row = (entry) => {
    const made = element("tr", entry.level + " new");
    const when = element("td", "nowrap", "", "When");
    const time = element("time", "", entry.at.slice(5, 10) + " " + entry.at.slice(11, 19));
    time.dateTime = entry.at;
    when.append(time);
    const [kind, symbol] = symbols[entry.level] || ["bad", "✕"];
    const badge = element("span", "badge " + kind);
    const sign = element("span", "", symbol);
    sign.setAttribute("aria-hidden", "true");
    badge.append(sign, entry.level);
    const level = element("td", "", "", "Level");
    level.append(badge);
    made.append(when, level, element("td", "", entry.text, "What"), element("td", "small", entry.source, "Part"));
    return made;
  };

  const source = new EventSource(body.dataset.stream + "&after=" + last);
  source.addEventListener("open", () => {
    live.textContent = "What the relay logs, as it happens, the newest first.";
  });
  source.addEventListener("error", () => {
    live.textContent = "The connection is lost; what is shown may be old.";
  });
  source.addEventListener("log", (event) => {
    for (const entry of JSON.parse(event.data)) {
      if (entry.number <= last) continue;
      last = entry.number;
      body.prepend(row(entry));
    }
    while (body.rows.length > kept) body.deleteRow(-1);
  });
})();
