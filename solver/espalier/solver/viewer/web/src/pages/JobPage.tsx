// A job of the queue as its worker tells of it: without tokens, but with branches, verdicts and candidates.

import { useState } from "preact/hooks";
import { SolveView } from "../solve/SolveView";
import { call } from "./api";
import { useSolve } from "./hooks";
import { LinkState, said } from "./parts";
import { type Job, State } from "./State";

export function JobPage({ id }: { id: string }) {
  const [job, setJob] = useState<Job | null>(null);
  const { solve, version, link } = useSolve(`jobs/${encodeURIComponent(id)}/events`, (status) => setJob(status as Job));
  const [fault, setFault] = useState("");
  const running = job?.state === "queued" || job?.state === "running";
  return (
    <>
      <div class="above">
        <a href="#/queue">← Queue</a>
        <span>{id}</span>
        {job && <State state={job.state} />}
        {job && job.attempts > 1 && <span class="quiet">attempt {job.attempts}</span>}
        <LinkState link={link} />
        {running && (
          <button type="button" onClick={() => void call(`jobs/${encodeURIComponent(id)}`, "DELETE").catch((error: unknown) => setFault(said(error)))}>
            Cancel
          </button>
        )}
        {(fault || job?.reason) && <span class="fault">{fault || job?.reason}</span>}
      </div>
      {solve.text || solve.candidates.size || solve.outcome ? <SolveView solve={solve} version={version} /> : <p class="card notice">{typeof link === "object" ? link.failed : "No worker has begun it yet."}</p>}
    </>
  );
}
