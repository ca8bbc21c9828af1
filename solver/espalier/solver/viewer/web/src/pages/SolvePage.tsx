// A solve as it happens.

import { useState } from "preact/hooks";
import { SolveView } from "../solve/SolveView";
import { call } from "./api";
import { useSolve } from "./hooks";
import { LinkState, said } from "./parts";

export function SolvePage({ id }: { id: string }) {
  const { solve, version, link } = useSolve(`solves/${encodeURIComponent(id)}/events`);
  const [fault, setFault] = useState("");
  const running = !solve.outcome && !solve.broken;
  return (
    <>
      <div class="above">
        <a href="#/">← All solves</a>
        <span class="quiet">{id}</span>
        <LinkState link={link} />
        {running && (
          <button type="button" onClick={() => void call(`solves/${encodeURIComponent(id)}`, "DELETE").catch((error: unknown) => setFault(said(error)))}>
            Cancel
          </button>
        )}
        {fault && <span class="fault" role="alert">{fault}</span>}
      </div>
      {(solve.text || solve.broken) && <SolveView solve={solve} version={version} />}
      {!solve.text && typeof link === "object" && <p class="card notice">{link.failed}</p>}
    </>
  );
}
