"use strict";
(() => {
  const page = document.documentElement;
  page.classList.add("scripted");

  // Makes an element what a fresh one is, and leaves everything alone that is the same: focus,
  // selection, scrolling, what is unfolded, and what the reader is typing.
  const sync = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if ("own" in old.dataset || (old.matches("form, .range") && old.contains(document.activeElement))) return;
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of Array.from(old.attributes)) {
      const isOpen = name === "open" && old.nodeName === "DETAILS";
      if (!isOpen && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    if (old.nodeName === "INPUT") old.value = fresh.value;
    syncChildren(old, fresh);
  };

  const syncChildren = (old, fresh) => {
    const named = new Map();
    for (const child of old.children) if (child.id) named.set(child.id, child);
    let next = old.firstChild;
    for (const wanted of Array.from(fresh.childNodes)) {
      const found = wanted.id ? named.get(wanted.id) : undefined;
      if (found) {
        if (found === next) next = next.nextSibling;
        else if (old.moveBefore) old.moveBefore(found, next);
        else old.insertBefore(found, next);
        sync(found, wanted);
      } else if (next && !next.id && !wanted.id) {
        const present = next;
        next = next.nextSibling;
        sync(present, wanted);
      } else {
        old.insertBefore(wanted, next);
      }
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  };

  let pending;
  const load = async (address) => {
    pending?.abort();
    pending = new AbortController();
    const answer = await fetch(address, {
      cache: "no-store",
      headers: { accept: "text/html" },
      signal: AbortSignal.any([pending.signal, AbortSignal.timeout(10000)]),
    });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const { refresh, at } = fresh.documentElement.dataset;
    page.dataset.refresh = refresh;
    if (at) page.dataset.at = at;
    else delete page.dataset.at;
    sync(document.body, fresh.body);
    document.title = fresh.title;
  };

  const pause = document.getElementById("pause");
  pause.addEventListener("click", () => {
    const isPaused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(isPaused));
  });
  // The past does not change, a hidden page asks for nothing, a selection is not taken away.
  const isWaiting = () => page.dataset.at || document.hidden || !getSelection().isCollapsed
    || pause.getAttribute("aria-pressed") === "true";
  const tick = async () => {
    if (!isWaiting()) {
      try {
        await load(location.href);
        page.classList.remove("stale");
      } catch (error) {
        page.classList.toggle("stale", error.name !== "AbortError");
      }
    }
    setTimeout(tick, Number(page.dataset.refresh) * 1000);
  };
  setTimeout(tick, Number(page.dataset.refresh) * 1000);

  // The slider shows another moment in place; at its end it shows what is.
  document.addEventListener("input", async (event) => {
    const range = event.target;
    if (range.id !== "range") return;
    const address = new URL(location.href);
    address.searchParams.delete("at");
    const moment = new Date(Number(range.value) * 1000).toISOString().replace(".000Z", "Z");
    range.setAttribute("aria-valuetext", moment);
    if (range.value !== range.max) address.search += `${address.search ? "&" : "?"}at=${moment}`;
    try {
      await load(address);
      history.replaceState(null, "", address);
      page.classList.remove("stale");
    } catch (error) {
      page.classList.toggle("stale", error.name !== "AbortError");
    }
  });
})();
