"use strict";
// SPDX-License-Identifier: MIT
// Search, filter and sort a table that has a form before it. The page is complete without it.
for (const section of document.querySelectorAll("section[data-table]")) {
  const body = section.querySelector("tbody"), head = section.querySelector("thead");
  const form = section.querySelector("form"), shown = section.querySelector("output");
  const rows = [...body.rows].map((row) => ({
    row, words: row.textContent.toLowerCase(), state: row.querySelector("td.state")?.classList[1],
  }));
  const collator = new Intl.Collator("en", { numeric: true });

  function filter() {
    const words = form.elements.words.value.toLowerCase().split(/\s+/), state = form.elements.state?.value;
    let found = 0;
    for (const one of rows) {
      const fits = (!state || one.state === state) && words.every((word) => one.words.includes(word));
      one.row.hidden = !fits;
      found += fits;
    }
    shown.textContent = `${found.toLocaleString("en")} of ${rows.length.toLocaleString("en")} ${section.dataset.table}`;
  }

  function sort(title, column) {
    const down = title.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.rows[0].cells) other.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
    for (const one of rows) one.key = one.row.cells[column].dataset.sort ?? one.row.cells[column].textContent.trim();
    rows.sort((a, b) => (a.key === "") - (b.key === "") || down * collator.compare(a.key, b.key));
    body.append(...rows.map((one) => one.row));
  }

  [...head.rows[0].cells].forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title.textContent;
    button.addEventListener("click", () => sort(title, column));
    title.replaceChildren(button);
  });
  head.className = "sortable";
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}
