// Talks to the server: with the token that its people have given, and streams that go on where they were cut off.

import { Reader } from "./sse";

const STORED = "espalier-token";
const WAITS = [500, 1000, 2000, 5000, 10_000];

export class Failed extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Called when the server wants another token. */
let locked = () => {};
export const whenLocked = (act: () => void) => {
  locked = act;
};

export function setToken(token: string): void {
  sessionStorage.setItem(STORED, token);
}

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(STORED);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  if (response.status === 401) locked();
  const body: unknown = await response.json().catch(() => null);
  const message = (body as { error?: { message?: unknown } } | null)?.error?.message;
  throw new Failed(response.status, typeof message === "string" ? message : `the server said ${response.status}`);
}

export async function call<T>(path: string, method = "GET", body?: unknown): Promise<T> {
  const json: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await checked(
    await fetch(`api/${path}`, { method, headers: { ...headers(), ...json }, body: body === undefined ? null : JSON.stringify(body) }),
  );
  return (response.status === 204 ? null : await response.json()) as T;
}

export type Link = "connecting" | "live" | "lost" | "ended" | { failed: string };

/** Follow a stream until it ends or the returned function is called. `last` is the event to begin behind. */
export function follow<T>(path: string, onData: (data: T, id: string) => void, onLink: (link: Link) => void, last = ""): () => void {
  const control = new AbortController();
  let tries = 0;
  const run = async () => {
    while (!control.signal.aborted) {
      try {
        const resume: Record<string, string> = last ? { "Last-Event-ID": last } : {};
        const response = await checked(
          await fetch(`api/${path}`, { headers: { ...headers(), ...resume }, signal: control.signal }),
        );
        onLink("live");
        const reader = new Reader();
        const decoder = new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>;
        for await (const text of chunks(response.body!.pipeThrough(decoder))) {
          for (const event of reader.feed(text)) {
            tries = 0;
            if (event.name === "end") {
              onLink("ended");
              return;
            }
            last = event.id || last;
            onData(JSON.parse(event.data) as T, last);
          }
        }
      } catch (error) {
        if (control.signal.aborted) return;
        if (error instanceof Failed && error.status < 500 && error.status !== 429) {
          onLink({ failed: error.message });
          return;
        }
      }
      onLink("lost");
      await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(tries++, WAITS.length - 1)]));
    }
  };
  void run();
  return () => control.abort();
}

async function* chunks(stream: ReadableStream<string>): AsyncGenerator<string> {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}
