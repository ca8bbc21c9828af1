// What all pages share: the head with the theme.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

type Theme = "auto" | "light" | "dark";
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const STORED = "espalier-theme";

export function Shell({ middle, children }: { middle?: ComponentChildren; children: ComponentChildren }) {
  return (
    <>
      <header class="head">
        <a class="brand" href="#/">
          <Mark />
          Espalier
        </a>
        <nav>{middle}</nav>
        <ThemeButton />
      </header>
      <main>{children}</main>
      {location.protocol !== "file:" && <footer class="quiet foot"><a href="notices.txt">Notices of third parties</a></footer>}
    </>
  );
}

/** A stem that forks into three and joins again. */
function Mark() {
  return (
    <svg viewBox="0 0 32 24" width="32" height="24" aria-hidden="true">
      <path d="M1 12H31M5 12C10 12 8 4 13 4H19C24 4 22 12 27 12M5 12C10 12 8 20 13 20H19C24 20 22 12 27 12" />
    </svg>
  );
}

function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(stored);
  useEffect(() => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(STORED, theme);
    } catch {
      // Pages from files may not have any storage; the choice then lasts as long as the page.
    }
  }, [theme]);
  return (
    <button type="button" class="theme" onClick={() => setTheme(NEXT[theme])} aria-label={`Theme: ${theme}`} title={`Theme: ${theme}`}>
      {theme === "auto" ? "◐" : theme === "light" ? "☀" : "☾"}
    </button>
  );
}

function stored(): Theme {
  try {
    const value = localStorage.getItem(STORED);
    return value === "light" || value === "dark" ? value : "auto";
  } catch {
    return "auto";
  }
}
