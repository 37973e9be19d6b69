"use strict";
(() => {
  const page = document.documentElement;
  const interval = Number(page.dataset.refresh) * 1000;
  const load = async () => {
    const answer = await fetch(location.href, {
      cache: "no-store",
      headers: { accept: "text/html" },
      signal: AbortSignal.timeout(10000),
    });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = new Set(Array.from(document.querySelectorAll("details[open]"), (d) => d.id));
    for (const details of fresh.querySelectorAll("details")) details.open = open.has(details.id);
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    document.title = fresh.title;
  };
  const tick = async () => {
    // A hidden page asks for nothing, and a selection is not taken away.
    if (!document.hidden && getSelection().isCollapsed) {
      try {
        await load();
        page.classList.remove("stale");
      } catch {
        page.classList.add("stale");
      }
    }
    setTimeout(tick, interval);
  };
  setTimeout(tick, interval);
})();
