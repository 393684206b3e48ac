// Draws charts with Plotly in the colours of the page. A page has the charts as JSON in the element
// #charts, {name: {data, layout}}, and one element [data-chart=NAME] for each. It calls drawCharts()
// again after its data or its colours have changed.
"use strict";

function drawCharts() {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  for (const place of document.querySelectorAll("[data-chart]")) {
    const chart = charts[place.dataset.chart];
    if (chart) drawChart(place, chart);
  }
}

function drawChart(place, chart) {
  const ink = getComputedStyle(place).color;
  const paper = getComputedStyle(document.body).backgroundColor;
  const faded = (share) => ink.replace("rgb(", "rgba(").replace(")", `, ${share})`);
  const axis = { gridcolor: faded(0.15), zerolinecolor: faded(0.3), linecolor: faded(0.6), showline: true };
  const layout = chart.layout;
  const narrow = place.clientWidth < 600;
  const entries = chart.data.filter((trace) => trace.name && trace.showlegend !== false).length;
  Plotly.react(place, chart.data, {
    ...layout,
    autosize: true,
    dragmode: narrow ? false : "zoom", // on a phone, a finger moves the page
    font: { color: ink, size: narrow ? 11 : 13, family: "system-ui, sans-serif" },
    height: layout.height + (narrow ? 16 * entries : 0), // the legend is a column there
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, nticks: layout.yaxis.type === "log" ? 4 : narrow ? 6 : 0, ...layout.yaxis },
    hoverlabel: {
      ...layout.hoverlabel,
      bgcolor: paper,
      bordercolor: faded(0.6),
      font: { ...layout.hoverlabel?.font, color: ink },
    },
    // A chart that is drawn again keeps what the reader has zoomed to and hidden.
    uirevision: place.dataset.chart,
  }, { displayModeBar: false, responsive: true });
  if (!place.classList.contains("drawn")) {
    legendByKeyboard(place);
    place.on("plotly_afterplot", () => legendByKeyboard(place));
  }
  place.classList.add("drawn"); // a picture behind it, for print, is now hidden
}

// Tab goes to the entries of the legend. Enter and the space bar do what a click does.
function legendByKeyboard(place) {
  for (const entry of place.querySelectorAll(".legendtoggle")) {
    entry.setAttribute("tabindex", "0");
    entry.setAttribute("role", "button");
    entry.setAttribute("aria-label", `hide or show ${entry.parentNode.textContent}`);
    entry.onkeydown = (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      for (const kind of ["mousedown", "mouseup"]) entry.dispatchEvent(new MouseEvent(kind, { bubbles: true }));
    };
  }
}

drawCharts();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
