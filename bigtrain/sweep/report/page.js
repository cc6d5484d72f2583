"use strict";
const tip = document.getElementById("tip");
const table = document.getElementById("trials");
const heads = [...table.tHead.rows[0].cells];
let hot = null;

// A thin line is hard to hit: what lies within a few pixels counts.
function near(event) {
  const direct = event.target.closest("[data-t]");
  if (direct || !event.target.closest("svg")) return direct;
  for (const far of [2, 4, 6])
    for (const [x, y] of [[0, far], [0, -far], [far, 0], [-far, 0]]) {
      const found = document.elementFromPoint(event.clientX + x, event.clientY + y);
      if (found && found.closest("svg [data-t]")) return found.closest("[data-t]");
    }
  return null;
}

function light(number) {
  if (number === hot) return;
  for (const lit of document.querySelectorAll(".hot")) lit.classList.remove("hot");
  hot = number;
  if (number !== null)
    for (const found of document.querySelectorAll(`[data-t="${number}"]`)) {
      found.classList.add("hot");
      if (found.matches("polyline, .parallel path")) found.parentNode.append(found);  // above the others
    }
}

function told(number) {
  const row = table.querySelector(`tr[data-t="${number}"]`);
  const lines = heads.map((head, at) => [head.textContent, row.cells[at].textContent]);
  return lines.filter(([, text]) => text !== "").map(([name, text]) => `${name}: ${text}`).join("\n");
}

document.addEventListener("pointermove", (event) => {
  const found = near(event);
  light(found ? found.dataset.t : null);
  tip.hidden = !found || found.tagName === "TR";
  if (tip.hidden) return;
  tip.textContent = told(found.dataset.t);
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 14;
  tip.style.left = `${Math.max(left, 4)}px`;
  tip.style.top = `${below + tip.offsetHeight > innerHeight ? Math.max(event.clientY - tip.offsetHeight - 10, 4) : below}px`;
});

document.addEventListener("click", (event) => {
  const found = event.target.closest("svg") && near(event);
  if (found) table.querySelector(`tr[data-t="${found.dataset.t}"]`).scrollIntoView({ block: "center" });
});

function sort(head) {
  const at = heads.indexOf(head);
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const keyed = [...table.tBodies[0].rows].map((row) => {
    const cell = row.cells[at];
    return [row, cell.dataset.v === undefined ? null : Number(cell.dataset.v), cell.textContent];
  });
  const none = ([, number, text]) => (number === null ? text === "" : Number.isNaN(number));
  keyed.sort((left, right) => {
    if (none(left) || none(right)) return none(left) - none(right);
    const numbers = left[1] !== null && right[1] !== null;
    const order = numbers ? left[1] - right[1] : left[2].localeCompare(right[2]);
    return up ? order : -order;
  });
  table.tBodies[0].append(...keyed.map(([row]) => row));
}
for (const head of heads) {
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(head); });
}

for (const box of document.querySelectorAll("input.log"))
  box.addEventListener("change", () => {
    const figure = box.closest("figure");
    figure.classList.toggle("is-log", box.checked);
    for (const line of figure.querySelectorAll("polyline")) {
      const ys = line.dataset.log.split(" ");
      const pairs = line.getAttribute("points").split(" ").map((pair) => pair.split(","));
      line.dataset.log = pairs.map(([, y]) => y).join(" ");
      line.setAttribute("points", pairs.map(([x], at) => `${x},${ys[at]}`).join(" "));
    }
  });

for (const button of document.querySelectorAll("[data-copy]"))
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {  // a page from a file may not: select the text, and let the browser copy what is selected
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
