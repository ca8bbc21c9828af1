import type { Standing } from "../solve/model";
import { Badge } from "../solve/Verdict";

export interface Job {
  id: string;
  state: string;
  submitted: number;
  started: number | null;
  finished: number | null;
  attempts: number;
  candidates: number;
  reason: string;
}

const STANDINGS: Record<string, Standing> = { queued: "unknown", running: "running", done: "pass", cancelled: "aborted", dead: "fail" };

const SIGNS: Record<string, string> = { queued: "○", running: "▸", done: "✓", cancelled: "⊘", dead: "✕" };

export const standingOf = (state: string): Standing => STANDINGS[state] ?? "unknown";

export function State({ state }: { state: string }) {
  return <Badge standing={standingOf(state)} sign={SIGNS[state] ?? ""}>{state}</Badge>;
}
