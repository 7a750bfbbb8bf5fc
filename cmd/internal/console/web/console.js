// The console works without this: it refreshes, switches the theme and knows keys.
"use strict";
(() => {
  const root = document.documentElement;
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;

  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const switchTheme = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it lasts as long as the page */ }
    label();
  };
  const label = () => {
    const button = document.getElementById("theme");
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", dark() ? "Switch to light" : "Switch to dark");
  };

  let paused = false, asking = false, timer = 0;
  const every = () => Number(document.body.dataset.refresh) * 1000;

  // What is open stays open, and what is scrolled stays where it is.
  const replace = (next) => {
    const live = document.getElementById("live");
    const open = new Set([...live.querySelectorAll("details[open][id]")].map((d) => d.id));
    const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...live.querySelectorAll(".scroll[id]")].map((e) => [e.id, e.scrollLeft]);
    live.replaceWith(next);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, x] of scrolled) { const e = document.getElementById(id); if (e) e.scrollLeft = x; }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };

  // Somebody who selects text or is in the part that would be replaced is left alone.
  const busy = () => {
    const selection = getSelection(), live = document.getElementById("live"), at = document.activeElement;
    return selection && !selection.isCollapsed && live.contains(selection.anchorNode) || live.contains(at) && !at.id;
  };

  const refresh = async (asked) => {
    if (asking || !asked && (paused || document.hidden || busy())) return;
    asking = true;
    const state = document.getElementById("state");
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(5000) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("live"), now = page.getElementById("state");
      if (!next) throw new Error("no page");
      replace(document.adoptNode(next));
      state.replaceChildren(...now.childNodes);
      state.classList.remove("lost");
    } catch {
      state.classList.add("lost");
      state.textContent = "the edge does not answer";
    } finally {
      asking = false;
    }
  };

  const plan = () => { clearInterval(timer); if (every() > 0) timer = setInterval(refresh, every()); };
  const pause = () => {
    const button = document.getElementById("pause");
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
  };

  const keys = (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea")) {
      if (e.key === "Escape") e.target.blur();
      return;
    }
    const link = /^[1-9]$/.test(e.key) && document.querySelector(`nav a[data-key="${e.key}"]`);
    if (link) link.click();
    else if (e.key === "r") refresh(true);
    else if (e.key === "p" && every() > 0) pause();
    else if (e.key === "t") switchTheme();
    else if (e.key === "/") document.querySelector("main input")?.focus();
    else return;
    e.preventDefault();
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").hidden = false;
    document.getElementById("theme").addEventListener("click", switchTheme);
    document.querySelector(".keys").hidden = false;
    if (every() > 0) {
      document.getElementById("pause").hidden = false;
      document.getElementById("pause").addEventListener("click", pause);
    }
    label();
    plan();
    document.addEventListener("keydown", keys);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && every() > 0) refresh(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  });
})();
