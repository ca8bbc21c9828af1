// One solve: summary, picture with details beside it, table.

import { useCallback, useEffect, useState } from "preact/hooks";
import { Picture, type Place } from "../picture/Picture";
import { Detail } from "./Detail";
import type { Solve } from "./model";
import { Summary } from "./Summary";
import { Table } from "./Table";

export function SolveView({ solve, version }: { solve: Solve; version: number }) {
  const [place, setPlace] = useState<Place | null>(null);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    setPlace(null);
    setOpen(false);
  }, [solve]);
  const show = useCallback((index: number) => {
    setPlace({ candidate: index, path: [] });
    setOpen(true);
  }, []);
  const close = useCallback(() => {
    setOpen(false);
    document.querySelector<HTMLElement>(".picture .frame")?.focus();
  }, []);
  const candidate = place && solve.candidates.get(place.candidate);
  return (
    <>
      <Summary solve={solve} onSelect={show} />
      <div class={open && candidate ? "split" : ""}>
        <Picture solve={solve} version={version} selected={place} onSelect={setPlace} onOpen={() => setOpen(true)} />
        {open && candidate && (
          <Detail
            solve={solve}
            candidate={candidate}
            path={place.path}
            onSelect={(path) => setPlace({ candidate: place.candidate, path })}
            onClose={close}
          />
        )}
      </div>
      <Table solve={solve} version={version} selected={place?.candidate ?? null} onSelect={show} />
    </>
  );
}
