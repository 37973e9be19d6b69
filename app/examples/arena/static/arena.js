// Every page works without this script. With it, problems can be filtered, and a form that was
// sent is not sent twice.
"use strict";

for (const form of document.forms) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    // After the form's data were taken.
    setTimeout(() => { button.disabled = true; }, 0);
  });
}
// A page that comes back from the browser's memory can be sent again.
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form button")) button.disabled = false;
});

const list = document.querySelector("[data-filter]");
if (list) {
  const box = document.createElement("input");
  box.type = "search";
  box.placeholder = "Filter problems";
  box.setAttribute("aria-label", "Filter problems");
  box.className = "filter";
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    for (const item of list.children) {
      item.hidden = !item.textContent.toLowerCase().includes(wanted);
    }
  });
  list.before(box);
}
