// Small parts that several pages show.

import type { Link } from "./api";

export function LinkState({ link }: { link: Link }) {
  const [kind, text] =
    typeof link === "object" ? ["fail", link.failed] : link === "live" ? ["pass", "live"] : link === "ended" ? ["aborted", "ended"] : ["unknown", link === "lost" ? "connection lost, trying again" : "connecting"];
  return (
    <span class="link-state" role="status">
      <i class={`dot ${kind}`} />
      {text}
    </span>
  );
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });

/** How long ago a time was, in seconds since the epoch. */
export function ago(time: number): string {
  const seconds = Math.max(0, Date.now() / 1000 - time);
  if (seconds < 60) return relative.format(-Math.round(seconds), "second");
  if (seconds < 3600) return relative.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86_400) return relative.format(-Math.round(seconds / 3600), "hour");
  return relative.format(-Math.round(seconds / 86_400), "day");
}

export const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));
