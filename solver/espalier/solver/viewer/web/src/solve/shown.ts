// Evidence as it is shown: what the program verifier says of a test case comes as JSON.

import type { Evidence } from "./entries";
import type { Standing, Verdict } from "./model";

export type { Evidence, Verdict };
export type { Standing };

export interface Case {
  name: string;
  passed: boolean;
  reason: string;
  input: string;
  expected: string;
  got: string;
  stderr: string;
  seconds: number;
  memory: number;
}

/** The test case that an observation is about; null when it is about something else. */
export function caseOf({ rule, detail }: Evidence): Case | null {
  if (!/^case \d+$/.test(rule)) return null;
  try {
    const value: unknown = JSON.parse(detail);
    if (typeof value !== "object" || value === null) return null;
    const record = value as Record<string, unknown>;
    const text = (name: string) => (typeof record[name] === "string" ? record[name] : "");
    const number = (name: string) => (typeof record[name] === "number" ? record[name] : 0);
    return {
      name: rule,
      passed: record.passed === true,
      reason: text("reason"),
      input: text("input"),
      expected: text("expected"),
      got: text("got"),
      stderr: text("stderr"),
      seconds: number("seconds"),
      memory: number("memory_mib"),
    };
  } catch {
    return null;
  }
}
