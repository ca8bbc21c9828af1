// Solves that this server has on its way or has just ended, and a place to ask for one.

import { useState } from "preact/hooks";
import { Badge } from "../solve/Verdict";
import type { Standing } from "../solve/model";
import type { About } from "./App";
import { call } from "./api";
import { useEvery } from "./hooks";
import { ago, said } from "./parts";

interface SolveEntry {
  id: string;
  text: string;
  began: number;
  end: string;
}

const POLICIES = ["greedy", "best_of_k", "adaptive", "refine"];

export function SolvesPage({ about }: { about: About }) {
  const [solves, setSolves] = useState<SolveEntry[] | null>(null);
  const [fault, setFault] = useState("");
  const look = () =>
    call<{ solves: SolveEntry[] }>("solves").then(
      ({ solves }) => {
        setSolves(solves);
        setFault("");
      },
      (error: unknown) => setFault(said(error)),
    );
  useEvery(1500, () => void look(), []);
  return (
    <>
      <Ask about={about} />
      <section class="card" aria-label="Solves">
        <header class="bar">
          <h2>Solves <span class="count">{solves?.length ?? ""}</span></h2>
          {fault && <span class="quiet" role="alert">{fault}</span>}
        </header>
        {solves?.length === 0 && <p class="empty">Nothing has been asked yet. Solves of every client show up here as they happen.</p>}
        <ul class="list">
          {solves?.map((solve) => (
            <li key={solve.id}>
              <a href={`#/solve/${encodeURIComponent(solve.id)}`}>
                <Badge standing={standingOf(solve.end)}>{wordOf(solve.end)}</Badge>
                <span class="what">{solve.text.replace(/\s+/g, " ").slice(0, 300)}</span>
                <span class="quiet">{ago(solve.began)}</span>
              </a>
            </li>
          ))}
        </ul>
      </section>
    </>
  );
}

function standingOf(end: string): Standing {
  switch (end) {
    case "":
      return "running";
    case "verified":
      return "pass";
    case "answered":
      return "unknown";
    case "unsolved":
      return "fail";
    default:
      return end === "cancelled" ? "aborted" : "error";
  }
}

const wordOf = (end: string): string => (end === "" ? "solving" : ["verified", "answered", "unsolved", "cancelled"].includes(end) ? end : "failed");

function Ask({ about }: { about: About }) {
  const [text, setText] = useState("");
  const [check, setCheck] = useState("");
  const [k, setK] = useState(about.k);
  const [policy, setPolicy] = useState(about.policy);
  const [fault, setFault] = useState("");
  const [busy, setBusy] = useState(false);
  const ask = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const { id } = await call<{ id: string }>("solves", "POST", { text, check, k, policy });
      location.hash = `#/solve/${encodeURIComponent(id)}`;
    } catch (error) {
      setFault(said(error));
      setBusy(false);
    }
  };
  return (
    <form class="card ask" onSubmit={(event) => void ask(event)}>
      <label class="grow">
        <span>Problem</span>
        <textarea
          rows={2}
          required
          placeholder="Using the numbers 19, 36, 55 and 7, each once, make 65"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.form?.requestSubmit();
          }}
        />
      </label>
      <div class="fields">
        <label>
          <span>Check, if the text does not say</span>
          <input placeholder="reference:42" value={check} onInput={(event) => setCheck(event.currentTarget.value)} />
        </label>
        <label class="small">
          <span>Candidates</span>
          <input type="number" min={1} max={about.max_k} value={k} onInput={(event) => setK(Number(event.currentTarget.value))} />
        </label>
        <label>
          <span>Policy</span>
          <select value={policy} onChange={(event) => setPolicy(event.currentTarget.value)}>
            {POLICIES.map((name) => <option key={name}>{name}</option>)}
          </select>
        </label>
        <button type="submit" class="primary" disabled={busy}>Solve</button>
      </div>
      {fault && <p class="fault" role="alert">{fault}</p>}
    </form>
  );
}
