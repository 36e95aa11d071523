// DataTables takes over the table of all runs: sorting by each column, search, pages, choices.
const source = JSON.parse(document.getElementById("datatables").textContent);
const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
const element = document.getElementById("all-runs");
const picks = [...document.querySelectorAll("[data-pick]")];
const columns = document.querySelector("[data-columns]");
const heads = [...element.tHead.rows[0].cells];
const chosen = ({ dataset: { choices } }) => !choices || choices.split(" ").includes(columns.value);

// Figures sort by what they are; a run without one comes last, whichever the direction.
const by = (sign) => (a, b) => (a === "" || b === "" ? (a === "") - (b === "") : sign * (a - b));

const options = {
  order: [],
  autoWidth: false,
  pageLength: 25,
  lengthMenu: [10, 25, 50, 100, { label: "all", value: -1 }],
  columnDefs: [
    { targets: "figure", type: "figure" },
    { targets: "words", type: "string" },
    { targets: "link", orderable: false, searchable: false },
    { targets: heads.flatMap((head, at) => (chosen(head) ? [] : [at])), visible: false },
  ],
  layout: {
    topStart: "pageLength",
    topEnd: { search: { text: "search _INPUT_" } },
    bottomStart: "info",
    bottomEnd: "paging",
  },
  language: { lengthMenu: "_MENU_ rows per page", info: "_START_ to _END_ of _TOTAL_ runs",
    infoFiltered: "(of _MAX_)", infoEmpty: "no runs", zeroRecords: "no run is like that" },
};

let table;
try {
  const { default: DataTable } = await import(address);
  DataTable.type("figure", { order: { asc: by(1), desc: by(-1) } });
  table = new DataTable(element, options);
} finally {
  URL.revokeObjectURL(address);
  document.documentElement.classList.remove("waiting"); // the table shows, whatever happened
}

// Only the table scrolls sideways, not what stands above and below it.
const box = element.closest(".wide");
const scroller = element.parentElement;
for (const name of ["tabindex", "role", "aria-label"]) {
  scroller.setAttribute(name, box.getAttribute(name));
  box.removeAttribute(name);
}
box.classList.remove("wide");
scroller.classList.add("wide");

// A row is shown where each choice is "all" or its own.
table.search.fixed("picks", (_text, _data, index) => {
  const { dataset } = table.row(index).node();
  return picks.every(({ value, dataset: { pick } }) => value === "" || dataset[pick] === value);
});
for (const pick of picks) pick.addEventListener("change", () => table.draw());

columns.addEventListener("change", () => {
  heads.forEach((head, at) => table.column(at).visible(chosen(head), false));
  table.columns.adjust();
});
document.querySelector(".picks").hidden = false;
