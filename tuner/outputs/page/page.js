"use strict";
// Draws each figure when it comes into view, in the colours of the page, and again when these change.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const byFinger = matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displayModeBar: false };  // a drag zooms, a double click shows all again

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // A colour that is written @name is a variable of the style sheet.
  function painted(value, key) {
    if (typeof value === "string") return /color/i.test(key) && value[0] === "@" ? colour(value.slice(1)) : value;
    if (Array.isArray(value)) return value.map((item) => painted(item, key));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, name)]));
  }

  function template() {
    const axis = {
      gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true, exponentformat: "e",
      title: { standoff: 8 },
    };
    return { layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), size: 12 },
      colorway: ["finished", "best", "running", "infeasible", "diverged", "lost", "paused", "stalled"].map(colour),
      margin: { l: 50, r: 12, t: 12, b: 44 }, xaxis: axis, yaxis: axis,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
    } };
  }

  function draw(figure) {
    const chart = figure.querySelector(".chart");
    const source = JSON.parse(figure.querySelector("script").textContent);
    const layout = { ...painted(source.layout, ""), template: template(), autosize: true };
    if (byFinger) layout.dragmode = false;  // a finger scrolls the page
    Plotly.react(chart, painted(source.data, ""), layout, config).then(() => { figure.dataset.drawn = "yes"; });
  }

  const figures = [...document.querySelectorAll("figure.plot")];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      watcher.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "500px" });
  figures.forEach((figure) => watcher.observe(figure));
  dark.addEventListener("change", () => figures.filter((figure) => figure.dataset.drawn).forEach(draw));
  addEventListener("beforeprint", () => figures.filter((figure) => !figure.dataset.drawn).forEach(draw));
  document.addEventListener("toggle", () => dispatchEvent(new Event("resize")), true);

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const empty = (one) => one === "" || Number.isNaN(one);
  function compare(a, b, sign) {
    if (empty(a) || empty(b)) return empty(a) - empty(b);  // always last
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  for (const head of document.querySelectorAll(".sortable th")) {
    head.tabIndex = 0;
    const sort = () => {
      const body = head.closest("table").tBodies[0];
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const column = head.cellIndex;
      body.append(...[...body.rows].sort((a, b) => compare(value(a, column), value(b, column), sign)));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  }
})();
