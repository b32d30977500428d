// Keeps the numbers of this page up to date: from the stream /live, or by asking for /stats.json now and then where there is no stream.
// Elements say with data-stat which number they show.  Nothing happens while the page is hidden; without this script it is as it came.
(() => {
  "use strict";

  const ASK = 30000; // ms between questions without a stream
  const REDRAW = 60000; // ms between two looks at the charts, at least
  const LONGEST = 600000; // ms until the stream is tried again, at most

  if (!window.fetch || !window.EventSource) return;

  // A page that came without numbers, since they were not to be had, comes anew when they are, unless somebody is in the middle of something.
  if (document.querySelector("[data-away]")) {
    setInterval(async () => {
      try {
        const idle = !document.activeElement || document.activeElement === document.body;
        if (!document.hidden && idle && (await fetch("/stats.json")).ok) location.reload();
      } catch (error) {
        // the next question comes
      }
    }, ASK * (1 + Math.random()));
  }

  const state = document.querySelector("[data-live]");
  if (!state) return;
  const words = state.querySelector("[data-live-text]");
  const drawn = document.querySelector("[data-charts]");

  let stream = null;
  let asking = null; // timer
  let opening = null; // timer
  let failures = 0;
  let heard = false; // from the stream that was opened last
  let redrawn = Date.now();
  let at = "";

  const pick = (stats, path) => path.split(".").reduce((value, name) => (value === null || value === undefined ? value : value[name]), stats);

  const number = (value) => (Number.isInteger(value) ? String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f") : "–");

  const seconds = (value) => {
    if (typeof value !== "number") return "–";
    if (value > 0 && value < 0.095) return `${(value * 1000).toFixed(0)} ms`;
    if (value < 9.95) return `${value.toFixed(1)} s`;
    if (value < 120) return `${value.toFixed(0)} s`;
    return value < 7200 ? `${(value / 60).toFixed(0)} min` : `${(value / 3600).toFixed(0)} h`;
  };

  const say = (live) => {
    state.classList.toggle("is-live", live);
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = at && `${new Date(at).toISOString().slice(11, 16)} UTC`;
    words.replaceChildren(live ? "Live, " : "Updated ", time);
  };

  const show = (stats) => {
    at = stats.at;
    for (const element of document.querySelectorAll("[data-stat]")) {
      const value = pick(stats, element.dataset.stat);
      const text = element.dataset.form === "seconds" ? seconds(value) : number(value);
      if (element.textContent === text) continue;
      element.textContent = text;
      element.classList.remove("changed");
      void element.offsetWidth; // begins the animation anew
      element.classList.add("changed");
    }
    redraw();
  };

  // The charts, unless somebody reads them with the keyboard; open tables stay open.
  const redraw = async () => {
    if (!drawn || Date.now() - redrawn < REDRAW || drawn.contains(document.activeElement)) return;
    redrawn = Date.now();
    try {
      const answer = await fetch(drawn.dataset.charts);
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = [...drawn.querySelectorAll("details")].map((each) => each.open);
      fresh.querySelectorAll("details").forEach((each, place) => { each.open = open[place] || false; });
      drawn.replaceChildren(...fresh.body.children);
    } catch (error) {
      // the next change comes
    }
  };

  const ask = async () => {
    try {
      const answer = await fetch("/stats.json");
      if (answer.ok && !stream) {
        show(await answer.json());
        say(false);
      }
    } catch (error) {
      // so does the next question
    }
  };

  const stop = () => {
    clearInterval(asking);
    clearTimeout(opening);
    if (stream) stream.close();
    asking = opening = stream = null;
  };

  // The stream could not be had, or has ended: ask now and then, and try again ever more rarely, not all pages at the same moment.
  const fail = () => {
    stop();
    say(false);
    asking = setInterval(ask, ASK);
    opening = setTimeout(start, Math.min((heard ? 3000 : ASK) * 2 ** failures, LONGEST) * (1 + Math.random()));
    failures += 1;
  };

  const start = () => {
    stop();
    heard = false;
    stream = new EventSource("/live");
    stream.addEventListener("stats", (event) => {
      failures = 0;
      heard = true;
      show(JSON.parse(event.data));
      say(true);
    });
    stream.addEventListener("away", () => say(false)); // the numbers are not to be had; they come by this stream when they are
    stream.addEventListener("error", fail);
  };

  at = state.querySelector("time")?.dateTime || "";
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  if (!document.hidden) start();
})();
