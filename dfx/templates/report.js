"use strict";
// Sorting, filtering and opening. Evidence waits in <template>s, so that a browser decodes only what is looked at.
const table = document.getElementById("table");
const heads = [...table.tHead.rows[0].cells];
const bodies = [...table.tBodies];
const value = (body, column) => body.rows[0].cells[column].dataset.v;
const collator = new Intl.Collator("en", { numeric: true });

function sort(column, descending) {
  const numeric = heads[column].classList.contains("n");
  const compare = numeric
    ? (a, b) => value(a, column) - value(b, column)
    : (a, b) => collator.compare(value(a, column), value(b, column));
  bodies.sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
  table.append(...bodies);
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
}

heads.forEach((head, column) =>
  head.querySelector("button").addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    sort(column, now ? now === "ascending" : head.classList.contains("n"));
  }),
);

function open(button) {
  const row = document.getElementById(button.getAttribute("aria-controls"));
  const template = row.querySelector("template");
  if (template) template.replaceWith(template.content);
  row.hidden = !row.hidden;
  button.setAttribute("aria-expanded", String(!row.hidden));
}

table.addEventListener("click", (event) => {
  const button = event.target.closest("button.open");
  if (button) open(button);
});

const field = (id) => document.getElementById(id);
const filters = field("filters");

function filter() {
  const name = field("by-name").value.toLowerCase();
  const reason = field("by-reason").value;
  const least = field("by-score").value;
  const label = field("by-label")?.value ?? "";
  let left = 0;
  for (const body of bodies) {
    const data = body.dataset;
    const shown =
      data.name.includes(name) &&
      (!reason || data.reason === reason) &&
      (least === "" || Number(data.score) >= Number(least)) &&
      (!label || data.label.split(" ").includes(label));
    body.hidden = !shown;
    left += shown;
  }
  field("count").textContent = `${left} of ${bodies.length} videos`;
  field("empty").hidden = left > 0;
}

filters.addEventListener("input", filter);
filters.addEventListener("reset", () => setTimeout(filter));
filters.addEventListener("submit", (event) => event.preventDefault());
