// Solves that lie in this very file.

import { useMemo, useState } from "preact/hooks";
import type { Entry } from "../solve/entries";
import { fold } from "../solve/model";
import { SolveView } from "../solve/SolveView";
import { Shell } from "./Shell";

export interface Recorded {
  id: string;
  source: string;
  entries: Entry[];
}

export function TracePage({ solves }: { solves: Recorded[] }) {
  const [chosen, setChosen] = useState(0);
  const solve = useMemo(() => fold(solves[chosen]!.entries), [solves, chosen]);
  const one = solves[chosen]!;
  const choice = (
    <label class="choice">
      {solves.length === 1 ? (
        <span class="quiet">{one.source}</span>
      ) : (
        <select value={chosen} aria-label="Problem" onChange={(event) => setChosen(Number(event.currentTarget.value))}>
          {solves.map(({ id, source, entries }, index) => (
            <option key={index} value={index}>
              {id} · {source} · {titleOf(entries)}
            </option>
          ))}
        </select>
      )}
    </label>
  );
  return (
    <Shell middle={choice}>
      <SolveView solve={solve} version={0} />
    </Shell>
  );
}

function titleOf(entries: Entry[]): string {
  for (const entry of entries) if ("accepted" in entry) return entry.accepted.problem.text.replace(/\s+/g, " ").slice(0, 60);
  return "";
}
