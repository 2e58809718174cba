"use strict";
(() => {
  // The slider steps through the rows of a table and shows what they say; the table is there without it.
  const reader = document.getElementById("reader");
  if (!reader) return;
  const slider = document.getElementById("budget");
  const rows = document.querySelectorAll("#budgets tbody tr");
  const cursor = document.querySelector(".cursor");

  const place = (name, value) => {
    for (const part of cursor.querySelectorAll(`[${name}]`)) part.setAttribute(name, value);
  };
  const show = () => {
    const row = rows[Number(slider.value)];
    for (const field of reader.querySelectorAll("[data-reads]")) {
      const name = field.dataset.reads;
      const cell = row.querySelector(`[data-name="${name}"]`);
      field.textContent = cell ? cell.textContent : row.dataset[name];
      field.closest("[data-part]").hidden = !field.textContent;
    }
    slider.setAttribute("aria-valuetext", row.dataset.spoken);
    if (!cursor) return;
    for (const name of ["x1", "x2", "cx"]) place(name, row.dataset.x);
    place("cy", row.dataset.y);
    cursor.setAttribute("visibility", "visible");
  };

  slider.addEventListener("input", show);
  reader.hidden = document.getElementById("slid").hidden = false;
  show();
})();
