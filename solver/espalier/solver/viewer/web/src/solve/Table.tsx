// The table of candidates: sorted, filtered, and only as many rows in the page as can be seen.

import { useMemo, useRef, useState } from "preact/hooks";
import type { Solve, Standing } from "./model";
import { Badge } from "./Verdict";
import { type Column, type Row, tableRows, type View } from "./votes";

const HEIGHT = 34;
const ROOM = 15;
const COLUMNS: [Column, string, string][] = [
  ["index", "#", "num"],
  ["standing", "Verdict", ""],
  ["answer", "Answer", "wide"],
  ["ended", "Ended", ""],
  ["tokens", "Tokens", "num"],
  ["critical", "Critical", "num"],
  ["branches", "Branches", "num"],
  ["seconds", "Seconds", "num"],
  ["temperature", "T", "num"],
  ["round", "Round", "num"],
];
const STANDINGS: Standing[] = ["pass", "fail", "unknown", "error", "aborted", "running"];

interface Props {
  solve: Solve;
  version: number;
  selected: number | null;
  onSelect: (index: number) => void;
}

export function Table({ solve, version, selected, onSelect }: Props) {
  const [view, setView] = useState<View>({ column: "index", descending: false, text: "", standings: new Set() });
  const [top, setTop] = useState(0);
  const frame = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => tableRows(solve, view), [solve, version, view]);
  const present = useMemo(() => {
    const all = tableRows(solve, { ...view, text: "", standings: new Set() });
    return STANDINGS.map((standing) => [standing, all.filter((row) => row.standing === standing).length] as const).filter(([, count]) => count);
  }, [solve, version]);
  const first = Math.max(0, Math.floor(top / HEIGHT) - 4);
  const last = Math.min(rows.length, first + ROOM + 8);

  const sort = (column: Column) =>
    setView({ ...view, column, descending: view.column === column ? !view.descending : column !== "index" && column !== "answer" });
  const toggle = (standing: Standing) => {
    const standings = new Set(view.standings);
    if (!standings.delete(standing)) standings.add(standing);
    setView({ ...view, standings });
  };

  return (
    <section class="card table" aria-label="Candidates">
      <header class="bar">
        <h2>
          Candidates <span class="count">{rows.length === solve.candidates.size ? rows.length : `${rows.length} of ${solve.candidates.size}`}</span>
        </h2>
        <span class="chips">
          {present.map(([standing, count]) => (
            <button key={standing} type="button" class={`chip ${standing}`} aria-pressed={view.standings.has(standing)} onClick={() => toggle(standing)}>
              {standing} <span class="count">{count}</span>
            </button>
          ))}
        </span>
        <input
          type="search"
          placeholder="Filter answers"
          aria-label="Filter answers"
          value={view.text}
          onInput={(event) => setView({ ...view, text: event.currentTarget.value })}
        />
      </header>
      <div ref={frame} class="rows" style={{ maxHeight: `${HEIGHT * (ROOM + 1)}px` }} onScroll={() => setTop(frame.current!.scrollTop)}>
        <table aria-rowcount={rows.length + 1}>
          <thead>
            <tr>
              {COLUMNS.map(([column, name, kind]) => (
                <th key={column} class={`${kind} ${column}`} aria-sort={view.column === column ? (view.descending ? "descending" : "ascending") : "none"}>
                  <button type="button" onClick={() => sort(column)}>
                    {name}
                    <span class="arrow" aria-hidden="true">{view.column === column ? (view.descending ? "↓" : "↑") : ""}</span>
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <tr aria-hidden="true" style={{ height: `${first * HEIGHT}px` }} />
            {rows.slice(first, last).map((row, index) => (
              <tr
                key={row.index}
                aria-rowindex={first + index + 2}
                class={`${row.winner ? "winner" : ""} ${row.index === selected ? "selected" : ""}`}
                onClick={() => onSelect(row.index)}
              >
                {COLUMNS.map(([column, , kind]) => (
                  <td key={column} class={`${kind} ${column}`}>
                    <Cell row={row} column={column} onSelect={onSelect} />
                  </td>
                ))}
              </tr>
            ))}
            <tr aria-hidden="true" style={{ height: `${(rows.length - last) * HEIGHT}px` }} />
          </tbody>
        </table>
        {rows.length === 0 && <p class="empty">{solve.candidates.size ? "No candidate fits the filter." : "No candidate yet."}</p>}
      </div>
    </section>
  );
}

function Cell({ row, column, onSelect }: { row: Row; column: Column; onSelect: (index: number) => void }) {
  switch (column) {
    case "index":
      return (
        <button type="button" class="link" onClick={() => onSelect(row.index)} aria-label={`Details of candidate ${row.index}`}>
          {row.index}
        </button>
      );
    case "standing":
      return <Badge standing={row.standing} />;
    case "answer":
      return (
        <>
          {row.answer === null ? <span class="quiet">–</span> : <code>{row.answer.replace(/\s+/g, " ").slice(0, 120)}</code>}
          {row.winner && <span class="chosen">answer</span>}
        </>
      );
    case "seconds":
      return <>{row.seconds.toFixed(2)}</>;
    default:
      return <>{row[column]}</>;
  }
}
