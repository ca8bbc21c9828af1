// Training runs: their metrics as charts, one run or several beside each other.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Plot, type Run } from "../training/Plot";
import { chartsOf, type Item, notesOf, seriesOf } from "../training/series";
import { call } from "./api";
import { useEvery } from "./hooks";
import { ago, said } from "./parts";

interface Listed {
  id: string;
  modified: number;
}

interface Read {
  records: Item[];
  offset: number;
}

const LOOK_MS = 5000;

export function TrainingPage() {
  const [listed, setListed] = useState<Listed[] | null>(null);
  const [chosen, setChosen] = useState<string[] | null>(null);
  const [weight, setWeight] = useState(0);
  const [fault, setFault] = useState("");
  const [version, setVersion] = useState(0);
  const known = useRef(new Map<string, Read>());
  const dark = useDark();

  const look = async () => {
    try {
      const { runs } = await call<{ runs: Listed[] }>("runs");
      setListed(runs);
      const wanted = chosen ?? runs.slice(0, 1).map(({ id }) => id);
      if (!chosen && wanted.length) setChosen(wanted);
      let news = false;
      for (const id of wanted) news = (await readOn(known.current, id)) || news;
      if (news) setVersion((before) => before + 1);
      setFault("");
    } catch (error) {
      setFault(said(error));
    }
  };
  useEvery(LOOK_MS, () => void look(), [chosen]);

  const runs = useMemo<Run[]>(
    () => (chosen ?? []).map((id, colour) => ({ id, colour, series: seriesOf(known.current.get(id)?.records ?? []) })),
    [chosen, version],
  );
  const charts = useMemo(() => chartsOf(new Set(runs.flatMap((run) => [...run.series.keys()]))), [runs]);
  const notes = (chosen ?? []).flatMap((id) => notesOf(known.current.get(id)?.records ?? []).map((note) => ({ id, ...note })));

  const toggle = (id: string) => {
    const now = chosen ?? [];
    setChosen(now.includes(id) ? now.filter((one) => one !== id) : [...now, id]);
  };
  return (
    <>
      <section class="card runs" aria-label="Runs">
        <header class="bar">
          <h2>Runs <span class="count">{listed?.length ?? ""}</span></h2>
          {fault && <span class="fault" role="alert">{fault}</span>}
          <label class="slider">
            Smooth
            <input type="range" min={0} max={0.98} step={0.02} value={weight} onInput={(event) => setWeight(Number(event.currentTarget.value))} />
          </label>
        </header>
        {listed?.length === 0 && <p class="empty">No run with a metrics.jsonl yet.</p>}
        <ul class="choices">
          {listed?.map(({ id, modified }) => {
            const place = chosen?.indexOf(id) ?? -1;
            return (
              <li key={id}>
                <label class={place >= 0 ? "on" : ""}>
                  <input type="checkbox" checked={place >= 0} onChange={() => toggle(id)} />
                  {place >= 0 && <i style={{ background: `var(--series-${place % 8})` }} />}
                  <span>{id}</span>
                  <span class="quiet">{ago(modified)}</span>
                </label>
              </li>
            );
          })}
        </ul>
      </section>
      {notes.length > 0 && (
        <section class="card notes" aria-label="Notes">
          <header class="bar"><h2>Notes <span class="count">{notes.length}</span></h2></header>
          <ul>
            {notes.slice(-20).reverse().map((note, index) => (
              <li key={index}><span class="quiet">{note.id} · step {note.step}</span> {note.text}</li>
            ))}
          </ul>
        </section>
      )}
      <div class="plots">
        {charts.map((chart) => <Plot key={`${chart.title} ${chart.fields.join()}`} chart={chart} runs={runs.filter((run) => chart.fields.some((field) => run.series.has(field)))} weight={weight} dark={dark} />)}
      </div>
    </>
  );
}

/** Reads what has been added to a run; whether there was anything. */
async function readOn(known: Map<string, Read>, id: string): Promise<boolean> {
  const before = known.get(id) ?? { records: [], offset: 0 };
  const path = id.split("/").map(encodeURIComponent).join("/");
  let { offset } = before;
  let records = before.records;
  for (;;) {
    const part = await call<Read>(`runs/${path}?from=${offset}`);
    if (part.offset < offset) records = []; // the run has begun anew
    records = [...records, ...part.records];
    if (part.offset === offset) break;
    offset = part.offset;
  }
  known.set(id, { records, offset });
  return records !== before.records && (offset !== before.offset || records.length !== before.records.length);
}

function useDark(): boolean {
  const read = () => getComputedStyle(document.documentElement).colorScheme === "dark";
  const [dark, setDark] = useState(read);
  useEffect(() => {
    const change = () => setDark(read());
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", change);
    const observer = new MutationObserver(change);
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => {
      media.removeEventListener("change", change);
      observer.disconnect();
    };
  }, []);
  return dark;
}
