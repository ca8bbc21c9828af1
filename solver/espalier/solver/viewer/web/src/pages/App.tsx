// The pages of a server: solves, the queue, training. The page is named after `#/` in the address.

import { useEffect, useState } from "preact/hooks";
import { call, Failed, setToken, whenLocked } from "./api";
import { JobPage } from "./JobPage";
import { QueuePage } from "./QueuePage";
import { Shell } from "./Shell";
import { SolvePage } from "./SolvePage";
import { SolvesPage } from "./SolvesPage";
import { TrainingPage } from "./TrainingPage";

export interface About {
  model: string;
  policy: string;
  k: number;
  max_k: number;
  queue: boolean;
  runs: boolean;
}

export function App() {
  const [route, setRoute] = useState(location.hash);
  const [about, setAbout] = useState<About | null>(null);
  const [locked, setLocked] = useState(false);
  const [fault, setFault] = useState("");
  useEffect(() => {
    const change = () => setRoute(location.hash);
    addEventListener("hashchange", change);
    whenLocked(() => setLocked(true));
    return () => removeEventListener("hashchange", change);
  }, []);
  useEffect(() => {
    if (locked) return;
    call<About>("about").then(setAbout, (error: unknown) => {
      if (!(error instanceof Failed && error.status === 401)) setFault(String(error instanceof Error ? error.message : error));
    });
  }, [locked]);

  const [page = "", id = ""] = route.replace(/^#\//, "").split("/", 2).map(decodeURIComponent);
  const links = [
    ["", "Solves", ["", "solve"], true],
    ["queue", "Queue", ["queue", "job"], about?.queue],
    ["training", "Training", ["training"], about?.runs],
  ] as const;
  return (
    <Shell
      middle={links.map(
        ([target, name, pages, present]) =>
          present && (
            <a key={target} href={`#/${target}`} aria-current={(pages as readonly string[]).includes(page) ? "page" : undefined}>
              {name}
            </a>
          ),
      )}
    >
      {locked ? (
        <TokenForm onDone={() => setLocked(false)} />
      ) : fault ? (
        <p class="card notice" role="alert">{fault}</p>
      ) : !about ? null : page === "solve" ? (
        <SolvePage key={id} id={id} />
      ) : page === "queue" ? (
        <QueuePage />
      ) : page === "job" ? (
        <JobPage key={id} id={id} />
      ) : page === "training" ? (
        <TrainingPage />
      ) : (
        <SolvesPage about={about} />
      )}
    </Shell>
  );
}

function TokenForm({ onDone }: { onDone: () => void }) {
  const [token, setValue] = useState("");
  return (
    <form
      class="card token"
      onSubmit={(event) => {
        event.preventDefault();
        setToken(token.trim());
        onDone();
      }}
    >
      <h2>This server asks for a token</h2>
      <p class="quiet">It is kept until this tab is closed.</p>
      <label>
        Token
        <input type="password" autocomplete="off" required value={token} onInput={(event) => setValue(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary">Go on</button>
    </form>
  );
}
