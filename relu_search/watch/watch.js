// Asks for what has changed, and puts it into the page. The server escapes all text.
"use strict";
{
  const PAUSE = 1_500; // ms between two questions
  const LONGEST = 60_000; // ms for an answer
  const filter = document.getElementById("filter");
  const silent = document.getElementById("silent");
  const parts = [...document.querySelectorAll("[data-part]")];
  const charts = new Map(); // name -> {place, figure, isDrawn, isInView}
  const loaded = new Promise((done) => addEventListener("load", done)); // Plotly takes a second
  let timer;
  let heard = new Date();

  function show(changed) {
    for (const [name, part] of Object.entries(changed)) {
      const section = parts.find((one) => one.dataset.part === name);
      if (!section) return location.reload(); // the folder could not be read before
      section.dataset.version = part.version;
      section.querySelector("h2").textContent = part.title;
      section.querySelector(".note").textContent = part.note;
      if (part.figure) Object.assign(charts.get(name), { figure: part.figure, isDrawn: false });
      else section.querySelector(".text").innerHTML = part.html;
    }
    draw();
  }

  function draw() {
    for (const chart of charts.values()) {
      if (!chart.figure || chart.isDrawn || !chart.isInView) continue;
      drawChart(chart.place, chart.figure);
      chart.isDrawn = true;
    }
  }

  // Charts are drawn when they come into view, so that a page costs little beside trainings.
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      charts.get(target.dataset.chart).isInView = isIntersecting;
    }
    draw();
  });
  for (const place of document.querySelectorAll("[data-chart]")) {
    charts.set(place.dataset.chart, { place });
    seen.observe(place);
  }

  async function ask() {
    clearTimeout(timer);
    const address = new URL(document.body.dataset.changes, location);
    address.searchParams.set("filter", filter.value);
    address.searchParams.set("known", parts.map((one) => one.dataset.version).join(","));
    try {
      const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(LONGEST) });
      if (!answer.ok) throw new Error(await answer.text());
      const changed = await answer.json();
      await loaded;
      if (address.searchParams.get("filter") === filter.value) show(changed);
      heard = new Date();
      silent.hidden = true;
    } catch (error) {
      silent.textContent =
        `No answer since ${heard.toLocaleTimeString()}: relu-search watch has ended, or failed ` +
        `(${error.message}). Start it again to go on.`;
      silent.hidden = false;
    }
    clearTimeout(timer);
    const isAnswered = address.searchParams.get("filter") === filter.value;
    timer = setTimeout(ask, isAnswered ? PAUSE : 0);
  }

  filter.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, 150);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== filter) {
      event.preventDefault();
      filter.focus();
    }
  });
  document.addEventListener("theme", () => {
    for (const chart of charts.values()) chart.isDrawn = false;
    draw();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else ask();
  });
  ask();
}
