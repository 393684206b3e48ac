// Before anything is drawn: the theme that the user chose, or else that of the system.
"use strict";
{
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("theme");
  const apply = () => {
    document.documentElement.dataset.theme = chosen() ?? (system.matches ? "dark" : "light");
    document.dispatchEvent(new Event("theme"));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const isDark = () => document.documentElement.dataset.theme === "dark";
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      localStorage.setItem("theme", isDark() ? "light" : "dark");
      apply();
    });
    document.addEventListener("theme", show);
    show();
  });
}
