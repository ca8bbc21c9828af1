import { useEffect, useRef, useState } from "preact/hooks";
import type { Entry } from "../solve/entries";
import { newSolve, type Solve, take } from "../solve/model";
import { follow, type Link } from "./api";

/** The newest value of a stream of values. */
export function useNewest<T>(path: string): [value: T | null, link: Link] {
  const [value, setValue] = useState<T | null>(null);
  const [link, setLink] = useState<Link>("connecting");
  useEffect(() => follow<T>(path, setValue, setLink), [path]);
  return [value, link];
}

const REDRAW_MS = 80;

/** A solve that grows with the entries of a stream; how its job stands goes to `onStatus`. */
export function useSolve(path: string, onStatus?: (status: unknown) => void): { solve: Solve; version: number; link: Link } {
  const solve = useRef<Solve>(newSolve());
  const [version, setVersion] = useState(0);
  const [link, setLink] = useState<Link>("connecting");
  useEffect(() => {
    solve.current = newSolve();
    let due = 0;
    const stop = follow<(Entry | { status: unknown })[]>(
      path,
      (entries) => {
        for (const entry of entries) {
          if ("status" in entry) onStatus?.(entry.status);
          else take(solve.current, entry);
        }
        due ||= window.setTimeout(() => {
          due = 0;
          setVersion((before) => before + 1);
        }, REDRAW_MS);
      },
      setLink,
    );
    return () => {
      clearTimeout(due);
      stop();
    };
  }, [path]);
  return { solve: solve.current, version, link };
}

/** Calls now and then again every so many milliseconds. */
export function useEvery(milliseconds: number, act: () => void, inputs: unknown[]): void {
  useEffect(() => {
    act();
    const timer = setInterval(act, milliseconds);
    return () => clearInterval(timer);
  }, inputs);
}
