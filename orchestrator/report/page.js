"use strict";
// The page is whole without this: pictures then stand side by side, and tables keep their order.
document.documentElement.classList.add("js");

for (const box of document.querySelectorAll(".compare[data-left]")) {
  const layers = [...box.querySelectorAll(".layer")];
  const divider = box.querySelector(".divider");
  const left = box.querySelector(".left-choice");
  const right = box.querySelector(".right-choice");
  const beside = box.querySelector(".beside");
  const chosen = (select) => select.selectedOptions[0].textContent;
  let before = [left.value, right.value];

  const show = () => {
    // Comparing a picture with itself tells nothing: the two sides change places instead.
    if (left.value === right.value) {
      if (left.value === before[0]) left.value = before[1];
      else right.value = before[0];
    }
    before = [left.value, right.value];
    for (const layer of layers) {
      layer.classList.toggle("left", layer.dataset.key === left.value);
      layer.classList.toggle("right", layer.dataset.key === right.value);
    }
    const share = Math.round(divider.valueAsNumber);
    box.style.setProperty("--at", `${divider.valueAsNumber}%`);
    divider.setAttribute("aria-valuetext", `${share} % ${chosen(left)}, ${100 - share} % ${chosen(right)}`);
  };
  for (const control of [divider, left, right]) control.addEventListener("input", show);
  beside.addEventListener("click", () => {
    const sliding = box.classList.toggle("sliding");
    beside.setAttribute("aria-pressed", String(!sliding));
  });
  box.classList.add("sliding");
  show();
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("tr.heads th")];
  const body = table.tBodies[0];
  const original = [...body.rows];
  if (original.length < 2) continue;

  const sort = (place, head) => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[place].dataset.v;
    const order = head.dataset.kind === "number"
      ? (a, b) => { const x = Number(a), y = Number(b); return x < y ? -1 : x > y ? 1 : 0; }
      : (a, b) => a.localeCompare(b, undefined, { numeric: true });
    const compare = (a, b) => {
      const x = value(a), y = value(b);
      // What is unknown comes last, whichever way.
      if (x === "" || y === "") return (x === "") - (y === "");
      return rising ? order(x, y) : order(y, x);
    };
    body.append(...[...original].sort(compare));
  };
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(place, head));
    head.append(button);
  });
}
