"use strict";
(function () {
  const root = document.documentElement;
  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const places = [...document.querySelectorAll("[data-figure]")];
  const sources = new Map([...document.querySelectorAll("script[data-for]")].map((s) => [s.dataset.for, s]));

  function loadPlotly() {
    if (window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  }
  function draw(place) {
    loadPlotly();
    const ink = style("--ink"), line = style("--line");
    const { data, layout } = JSON.parse(sources.get(place.dataset.figure).textContent);
    layout.font = { ...layout.font, color: ink };
    for (const axis of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) layout[axis] = { ...layout[axis], gridcolor: line, linecolor: line, zerolinecolor: line };
    for (const trace of data) if (trace.type === "parcoords") Object.assign(trace, { labelfont: { ...trace.labelfont, color: ink }, tickfont: { ...trace.tickfont, color: ink }, rangefont: { color: "rgba(0,0,0,0)" } });
    try { Plotly.react(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: false }); }
    catch (problem) { place.textContent = "This figure needs a browser feature that is switched off; its numbers are in the table."; }
    place.dataset.drawn = "true";
  }
  const redraw = () => places.filter((place) => place.dataset.drawn).forEach(draw);
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "300px" });
  addEventListener("load", () => requestAnimationFrame(() => setTimeout(() => places.forEach((place) => near.observe(place)))));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    root.classList.add("paper");
    document.querySelectorAll("details:not([open])").forEach((one) => { one.open = true; one.dataset.printed = "true"; });
    places.forEach(draw);
  });
  addEventListener("afterprint", () => {
    root.classList.remove("paper");
    document.querySelectorAll("details[data-printed]").forEach((one) => { one.open = false; delete one.dataset.printed; });
    redraw();
  });

  const LEAST_ROWS_TO_FILTER = 10;
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    sortable(table);
    if (table.tBodies[0].rows.length >= LEAST_ROWS_TO_FILTER) filterable(table);
  }
  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button"; button.append(...head.childNodes); head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
        const value = (text) => text === "" || isNaN(Number(text)) ? null : Number(text);
        rows.sort((a, b) => {
          const x = value(a.text), y = value(b.text);
          if (x !== null && y !== null) return up ? x - y : y - x;
          if (x !== null || y !== null) return x === null ? 1 : -1;
          return up ? a.text.localeCompare(b.text) : b.text.localeCompare(a.text);
        });
        body.append(...rows.map((entry) => entry.row));
      });
    });
  }
  function filterable(table) {
    const rows = [...table.tBodies[0].rows], around = table.closest(".scroll") || table;
    const bar = document.createElement("p"), label = document.createElement("label"), input = document.createElement("input"), count = document.createElement("output");
    bar.className = "filter soft"; input.type = "search"; input.autocomplete = "off";
    label.append("Show rows with ", input); bar.append(label, " ", count); around.before(bar);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      count.textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
    });
  }
})();
