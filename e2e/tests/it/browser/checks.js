// Which texts an element shows by itself, and where a page is hard to read or to use.
// A few of the rules of WCAG 2.2, level AA: those that this page could break.

const isShown = (element) => element.checkVisibility({ checkVisibilityCSS: true })
  && !element.closest(".unseen") && element.getClientRects().length > 0;

// The findings that are in the window without scrolling.
const findings = () => Array.from(document.querySelectorAll(".finding"))
  .filter((finding) => {
    const { top, bottom } = finding.getBoundingClientRect();
    return isShown(finding) && 0 <= top + scrollY && bottom + scrollY <= innerHeight;
  })
  .map((finding) => finding.querySelector("p").innerText.replace(/\s+/g, " ").trim());

const channels = (colour) => {
  const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
  return { rgb: [red, green, blue], alpha };
};

const luminance = (rgb) => {
  const [red, green, blue] = rgb.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

const background = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const { rgb, alpha } = channels(getComputedStyle(one).backgroundColor);
    if (alpha === 1) return rgb;
  }
  return [255, 255, 255];
};

const contrast = (element) => {
  const ink = luminance(channels(getComputedStyle(element).color).rgb);
  const paper = luminance(background(element));
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
};

const hasText = (element) => Array.from(element.childNodes)
  .some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());

const name = (element) => `${element.nodeName.toLowerCase()}.${element.className} `
  + `"${(element.textContent ?? "").trim().slice(0, 40)}"`;

const problems = () => {
  const found = [];
  const all = Array.from(document.body.querySelectorAll("*")).filter(isShown);
  for (const element of all.filter(hasText)) {
    const ratio = contrast(element);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${name(element)}`);
  }
  const root = document.documentElement;
  if (root.clientWidth < root.scrollWidth) {
    found.push(`wider than the window: ${root.scrollWidth} of ${root.clientWidth}`);
    for (const element of all) {
      const { right } = element.getBoundingClientRect();
      if (root.clientWidth + 1 < right) found.push(`  up to ${right}: ${name(element)}`);
    }
  }
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    const next = Number(heading.nodeName[1]);
    if (level + 1 < next) found.push(`a level is left out: ${name(heading)}`);
    level = next;
  }
  const ids = Array.from(document.querySelectorAll("[id]"), (element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`twice: ${id}`);
  for (const link of document.querySelectorAll("a[href^='#']")) {
    const id = decodeURIComponent(link.hash.slice(1));
    if (!document.getElementById(id)) found.push(`leads nowhere: ${link.hash}`);
  }
  for (const cell of document.querySelectorAll("th:not([scope])")) found.push(name(cell));
  for (const svg of document.querySelectorAll("svg:not([aria-label]):not([aria-hidden])")) {
    found.push(name(svg));
  }
  for (const input of document.querySelectorAll("input")) {
    if (!input.labels.length) found.push(`without a label: ${input.name}`);
  }
  for (const part of ["header", "main", "nav", "footer", "h1"]) {
    if (!document.querySelector(part)) found.push(`no ${part}`);
  }
  return found;
};
