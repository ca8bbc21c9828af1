// Shows what a model wrote. Its text only ever becomes text nodes; formulas become MathML that KaTeX builds node by node.

import katex from "katex";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Program } from "./Program";
import { type Piece, pieces } from "./pieces";

const SHORT = 20_000;
const FORMULAS = 400;

export function Rich({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  const shown = all ? text : text.slice(0, SHORT);
  const parts = useMemo(() => pieces(shown), [shown]);
  return (
    <div class="rich">
      <Pieces parts={parts} />
      {shown.length < text.length && (
        <button type="button" class="more" onClick={() => setAll(true)}>
          Show {(text.length - shown.length).toLocaleString("en")} more characters
        </button>
      )}
    </div>
  );
}

function Pieces({ parts }: { parts: Piece[] }) {
  let formulas = 0;
  return (
    <>
      {parts.map((piece, index) => {
        switch (piece.kind) {
          case "prose":
            return <span key={index}>{piece.text}</span>;
          case "math":
            return <Math key={index} source={piece.source} display={piece.display} plain={++formulas > FORMULAS} />;
          case "boxed":
            return (
              <span key={index} class="boxed">
                <Math source={piece.source} display={false} plain={++formulas > FORMULAS} />
              </span>
            );
          case "program":
            return <Program key={index} source={piece.source} language={piece.language} />;
          case "guideline":
            return (
              <details key={index} class="block">
                <summary>
                  Guideline <span class="count">{piece.plans.length} {piece.plans.length === 1 ? "plan" : "plans"}</span>
                </summary>
                <ol>{piece.plans.map((plan, number) => <li key={number}><Inline text={plan} /></li>)}</ol>
              </details>
            );
          case "takeaway":
            return (
              <details key={index} class="block" open>
                <summary>Takeaway</summary>
                <Pieces parts={piece.pieces} />
              </details>
            );
        }
      })}
    </>
  );
}

/** A line of text with its formulas. */
export function Inline({ text }: { text: string }) {
  const parts = useMemo(() => pieces(text), [text]);
  return <Pieces parts={parts} />;
}

/** A formula; one that KaTeX cannot read stays as it was written. */
export function Math({ source, display, plain = false }: { source: string; display: boolean; plain?: boolean }) {
  const place = useRef<HTMLSpanElement>(null);
  useLayoutEffect(() => {
    const element = place.current!;
    element.textContent = source;
    if (plain) return;
    try {
      const made = document.createElement("span");
      katex.render(source, made, {
        output: "mathml",
        displayMode: display,
        throwOnError: true,
        trust: false,
        strict: "ignore",
        maxExpand: 100,
        maxSize: 8,
      });
      element.replaceChildren(...made.childNodes);
    } catch {
      element.textContent = source;
    }
  }, [source, display, plain]);
  return <span ref={place} class={display ? "math display" : "math"} />;
}
