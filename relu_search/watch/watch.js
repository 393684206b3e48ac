// Asks for what has changed, and puts it into the page. The server escapes all text.
"use strict";
{
  const PAUSE = 1500; // ms between two questions
  const filter = document.getElementById("filter");
  const silent = document.getElementById("silent");
  const parts = [...document.querySelectorAll("[data-part]")];
  const figures = new Map(); // element -> figure as it came
  let timer;
  let heard = new Date();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function draw(element, figure) {
    figures.set(element, figure);
    const axes = {};
    for (const name of Object.keys(figure.layout).filter((key) => /^[xy]axis/.test(key))) {
      axes[name] = {
        ...figure.layout[name],
        gridcolor: colour("--line"),
        linecolor: colour("--quiet"),
        zerolinecolor: colour("--line"),
      };
    }
    const layout = {
      ...figure.layout,
      ...axes,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { ...figure.layout.font, color: colour("--text") },
      hoverlabel: {
        bgcolor: colour("--card"),
        bordercolor: colour("--quiet"),
        font: { color: colour("--text") },
      },
      autosize: true,
      uirevision: "kept", // zoom and hidden curves stay
    };
    delete layout.width;
    const options = { displayModeBar: false, responsive: true };
    return Plotly.react(element, figure.data, layout, options);
  }

  function show(changed) {
    for (const [name, part] of Object.entries(changed)) {
      const section = parts.find((one) => one.dataset.part === name);
      if (!section) return location.reload(); // the folder could not be read before
      section.dataset.version = part.version;
      section.querySelector("h2").textContent = part.title;
      section.querySelector(".note").textContent = part.note;
      if (part.figure) draw(section.querySelector(".chart"), part.figure);
      else section.querySelector(".text").innerHTML = part.html;
    }
  }

  async function ask() {
    clearTimeout(timer);
    const address = new URL(document.body.dataset.changes, location);
    address.searchParams.set("filter", filter.value);
    address.searchParams.set("known", parts.map((one) => one.dataset.version).join(","));
    try {
      const answer = await fetch(address, { cache: "no-store" });
      if (!answer.ok) throw new Error(await answer.text());
      const changed = await answer.json();
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
    for (const [element, figure] of figures) draw(element, figure);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else ask();
  });
  ask();
}
